"""Choice of the delivery guarantee for this broker, and its writer."""

from typing import Literal

from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.idempotent import IdempotentWriter
from sidestream.streams.listens.durable.transactions import TransactionalWriter
from sidestream.streams.listens.durable.writer import ChangelogWriter
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.runtime.pacing import Pacer

Guarantee = Literal["exactly_once", "at_least_once"]


def choose_guarantee(settings: LaneSettings, clients: Clients) -> Guarantee:
    """Decide between transactions and idempotent folds.

    Args:
        settings: `guarantee` is the requested guarantee.
        clients: Kafka client factory.

    Returns:
        The guarantee of the lane on this broker.

    Raises:
        SettingsError: Exactly once is requested on the embedded broker, which does not isolate transactions.
    """
    if settings.guarantee == "auto":
        return "at_least_once" if clients.is_embedded else "exactly_once"
    if settings.guarantee == "exactly_once" and clients.is_embedded:
        msg = (
            "lane.guarantee: expected auto or at_least_once on the embedded broker, which does not isolate "
            "transactions, got exactly_once; use Apache Kafka, or omit the setting"
        )
        raise SettingsError(msg)
    return settings.guarantee


def make_writer(
    settings: LaneSettings, clients: Clients, identity: TableIdentity, group_id: str, pacer: Pacer
) -> ChangelogWriter:
    """Create the writer for the chosen guarantee.

    Args:
        settings: Guarantee and sizes.
        clients: Kafka client factory.
        identity: Contains source topic and changelog.
        group_id: Consumer group of the lane.
        pacer: Yields to session-starts.

    Returns:
        The writer, not open.

    Raises:
        SettingsError: This broker cannot provide the guarantee.
    """
    source, changelog, size = identity.source_topic, identity.changelog_topic, settings.changelog_batch_bytes
    if choose_guarantee(settings, clients) == "at_least_once":
        return IdempotentWriter(changelog, clients, size, pacer)
    return TransactionalWriter(source, changelog, group_id, clients, size, settings.transaction_timeout_ms, pacer)
