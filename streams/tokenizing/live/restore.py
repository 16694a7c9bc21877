"""Reads the states of live items back from `live-states.v1`: all of a partition, before anything of it is folded."""

from collections.abc import Collection

from aiokafka import TopicPartition

from sidestream.streams.errors import TokenizerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.log import get_log
from sidestream.tokenizer.live import LiveState, decode_state

_log = get_log(__name__)

_POLL_MS = 200


async def restore_states(
    clients: Clients, topic: str, partitions: Collection[int]
) -> dict[int, dict[bytes, LiveState]]:
    """Read all states of some partitions.

    Args:
        clients: The Kafka.
        topic: `live-states.v1`.
        partitions: Which.

    Returns:
        States by partition and key. One that cannot be read is left out, with a warning: its item is tokenized anew.
    """
    found: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
    places = [TopicPartition(topic, partition) for partition in found]
    consumer = clients.async_consumer()
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        # Positions, not records, say when the end is reached: compaction leaves holes.
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for record in records:
                    if record.value is None:
                        found[place.partition].pop(record.key, None)
                    else:
                        found[place.partition][record.key] = record.value
    finally:
        await consumer.stop()
    return {partition: _readable(values) for partition, values in found.items()}


def _readable(values: dict[bytes, bytes]) -> dict[bytes, LiveState]:
    states = {}
    for key, value in values.items():
        try:
            states[key] = decode_state(value)
        except TokenizerError as exc:
            _log.warning("state of a live item left out", key=repr(key), error=str(exc))
    return states
