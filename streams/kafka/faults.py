"""What is said when a topic cannot be read, whichever client library found out."""

from collections.abc import Collection, Mapping

from sidestream.streams.errors import AccessError, BrokerError, SidestreamError, TopicError
from sidestream.streams.kafka.spans import Place

_NAMED = 3
# Kafka's code of TOPIC_AUTHORIZATION_FAILED, which the errors of both client libraries carry. Their classes are not
# compared: a command would import the library that it does not use.
_NOT_AUTHORIZED = 29


def absent_topic(topic: str, bootstrap: str) -> TopicError:
    """Say that a topic does not exist.

    Args:
        topic: Its name.
        bootstrap: The Kafka.

    Returns:
        The error.
    """
    return TopicError(
        f"expected topic {topic} at {bootstrap}, got none that we may see; `sidestream topics list` shows what is "
        "there, `sidestream topics create` creates what is missing"
    )


def absent_partition(place: Place, partitions: Collection[int]) -> TopicError:
    """Say that a topic has fewer partitions than wanted.

    Args:
        place: The partition.
        partitions: Those that there are.

    Returns:
        The error.
    """
    return TopicError(
        f"expected {place}, got no such partition of {len(partitions)}; `sidestream topics list` shows what is there"
    )


def unreadable(bootstrap: str, positions: Mapping[Place, int], exc: BaseException) -> SidestreamError:
    """Say that a client library could not read.

    Args:
        bootstrap: The Kafka.
        positions: Next offsets of the partitions that are read, as far as known.
        exc: What it says.

    Returns:
        The error; `AccessError` where rights are missing.
    """
    places = [f"{place} at offset {position}" for place, position in positions.items()]
    more = [f"{len(places) - _NAMED} more"] if len(places) > _NAMED else []
    where = ", ".join(places[:_NAMED] + more) or "topics"
    if getattr(exc, "errno", None) == _NOT_AUTHORIZED:
        return AccessError(f"{bootstrap}: we may not read {where} ({exc!r}); allow READ and DESCRIBE on the topic")
    return BrokerError(f"{bootstrap}: {where} cannot be read: {exc!r}; check that the broker is up")
