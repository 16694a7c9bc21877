"""Restores the states of live items from `live-states.v1`: a whole partition, before any record of it is applied."""

from collections.abc import Collection

from sidestream.streams.errors import TokenizerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.runtime.logs.log import get_log
from sidestream.tokenizer.live import LiveState, decode_state

_log = get_log(__name__)

# Shorter than the watchdog's limit: the caller tries again, and says that Kafka is away.
_NO_PROGRESS_S = 10.0


async def restore_states(
    clients: Clients, topic: str, partitions: Collection[int]
) -> dict[int, dict[bytes, LiveState]]:
    """Read all states of some partitions.

    Args:
        clients: Kafka clients.
        topic: `live-states.v1`.
        partitions: Partitions to restore.

    Returns:
        States by partition and key. An unreadable state is skipped with a warning: its item is tokenized again.
    """
    found: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
    async for batch in read_to_end(clients, topic, found, no_progress_s=_NO_PROGRESS_S):
        keep_last(batch.records, found[batch.place.partition])
    return {partition: _readable(values) for partition, values in found.items()}


def _readable(values: dict[bytes, bytes]) -> dict[bytes, LiveState]:
    states = {}
    for key, value in values.items():
        try:
            states[key] = decode_state(value)
        except TokenizerError as exc:
            _log.warning("unreadable state of a live item skipped", key=repr(key), error=str(exc))
    return states
