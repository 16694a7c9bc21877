"""Reads the items of the topic and applies a plan; after a crash, the next run makes the remaining changes."""

from collections.abc import Callable

from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import DEFAULT_LIMITS, Limits, decode_catalog_item, decode_item_key
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.reconcile.dump import Dump, Stored, stored_of
from sidestream.streams.operate.reconcile.plan import ReconcilePlan

# Bounds the records whose delivery is unknown after a failure, and those that wait in memory.
_FLUSH_EVERY = 1_000
_NO_TIMESTAMP = -1

Progress = Callable[[int, int], None]
"""Called with units done and units in all (0 if unknown)."""


def _ignore(done: int, total: int) -> None:
    del done, total


def read_stored(
    clients: Clients, topic: TopicSpec, limits: Limits = DEFAULT_LIMITS, progress: Progress = _ignore
) -> dict[str, Stored]:
    """Read the last value of every item in `catalog-items.v1`.

    Args:
        clients: Kafka clients.
        topic: The topic.
        limits: Bounds that an item must keep; a value that breaks them counts as unreadable and is replaced.
        progress: Called for every record.

    Returns:
        By item id.

    Raises:
        TopicError: The topic does not exist.
        BrokerError: The broker does not answer.
    """
    stored: dict[str, Stored] = {}
    for count, record in enumerate(read_topic(clients, topic.name), 1):
        progress(count, 0)
        try:
            item_id = decode_item_key(record.key)
        except BadRecord:  # belongs to no item, and is never tokenized
            continue
        if record.value is None:
            stored.pop(item_id, None)
            continue
        try:
            item = decode_catalog_item(record.key, record.value, _NO_TIMESTAMP, limits)
        except BadRecord:
            item = None
        stored[item_id] = Stored(None, -1) if item is None else stored_of(item)
    return stored


def apply_plan(client: SidestreamClient, dump: Dump, plan: ReconcilePlan, progress: Progress = _ignore) -> None:
    """Publish new and changed items, then remove the absent ones.

    Args:
        client: Publishes.
        dump: The checked dump.
        plan: The changes to make.
        progress: Called for every item that is published or removed.

    Raises:
        BrokerError: A record could not be delivered; delivered ones stay, and another run makes the other changes.
        DataError: The dump has changed since it was checked.
    """
    waiting, total = 0, len(plan.upserts) + len(plan.removals)
    for item in dump.lines():
        if item.item_id in plan.upserts:
            client.publish_item(item)
            waiting += 1
            progress(waiting, total)
            if waiting % _FLUSH_EVERY == 0:
                client.flush()
    # Removals come last, so that an item that another one replaces is removed after its replacement exists.
    client.flush()
    for number, item_id in enumerate(plan.removals, 1):
        client.remove_item(item_id)
        progress(waiting + number, total)
        if number % _FLUSH_EVERY == 0:
            client.flush()
    client.flush()
