"""Errors for topics that cannot be read, the same for all client libraries."""

from collections.abc import Collection, Mapping
from typing import Any

from sidestream.streams.errors import AccessError, BrokerError, SidestreamError, TopicError
from sidestream.streams.kafka.read_rules import Place

_NAMED = 3
# Kafka's error code TOPIC_AUTHORIZATION_FAILED, which the errors of both client libraries carry. Their classes are not
# compared: a command would import the library that it does not use.
_NOT_AUTHORIZED = 29


def missing_topic_error(topic: str, bootstrap: str) -> TopicError:
    """Return the error for a topic that does not exist."""
    return TopicError(
        f"expected topic {topic} at {bootstrap}, got none that we may see; `sidestream topics list` shows what is "
        "there, `sidestream topics create` creates what is missing"
    )


def missing_partition_error(place: Place, partitions: Collection[int]) -> TopicError:
    """Return the error for a partition that does not exist; `partitions` are the existing ones."""
    return TopicError(f"expected {place}, got no such partition of {len(partitions)}; see `sidestream topics list`")


def read_error(bootstrap: str, positions: Mapping[Place, int], exc: BaseException) -> SidestreamError:
    """Return the error for a failed read.

    Args:
        bootstrap: Address of the broker.
        positions: Next offsets of the partitions being read, as far as known.
        exc: Error of the client library.

    Returns:
        The error; `AccessError` if permissions are missing.
    """
    places = [f"{place} at offset {position}" for place, position in positions.items()]
    more = [f"{len(places) - _NAMED} more"] if len(places) > _NAMED else []
    where = ", ".join(places[:_NAMED] + more) or "topics"
    if getattr(exc, "errno", None) == _NOT_AUTHORIZED:
        return AccessError(f"{bootstrap}: we may not read {where} ({exc!r}); allow READ and DESCRIBE on the topic")
    return BrokerError(f"{bootstrap}: {where} cannot be read: {exc!r}; check that the broker is up")


def require_alive(consumer: Any) -> None:
    """Raise if an aiokafka consumer has ended: without its tasks, a topic looks like one without new records.

    Args:
        consumer: Started consumer.

    Raises:
        BrokerError: It must be replaced.
    """
    fetcher, client = getattr(consumer, "_fetcher", None), getattr(consumer, "_client", None)
    for task in (getattr(fetcher, "_fetch_task", None), getattr(client, "_sync_task", None)):
        if task is not None and task.done():
            reason = None if task.cancelled() else task.exception()
            msg = f"the client has ended ({reason!r})"
            raise BrokerError(msg)
