"""Titles of items by id, read from `item-sids.v1` where that is cheap."""

from collections.abc import Mapping

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BrokerError, TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic

# Read in about a second; a larger catalogue is not worth the wait for a table's column.
MAX_RECORDS = 20_000


class _Titled(msgspec.Struct):
    title: str = ""


_decoder = msgspec.json.Decoder(_Titled)


def read_titles(clients: Clients, topics: Topics, max_records: int = MAX_RECORDS) -> Mapping[str, str]:
    """Read the titles of all items.

    Args:
        clients: The Kafka.
        topics: All topics.
        max_records: A topic with more records is not read.

    Returns:
        Titles by item id; none where the topic is missing or too long: ids are then all that is shown.
    """
    name = topics.item_sids.name
    titles: dict[str, str] = {}
    try:
        if _num_records(clients, name) > max_records:
            return {}
        for record in read_topic(clients, name):
            item_id = (record.key or b"").decode(errors="replace")
            titles[item_id] = title_in(record.value)
    except (BrokerError, TopicError):
        return {}
    return {item_id: title for item_id, title in titles.items() if title}


def title_in(value: bytes | None) -> str:
    """Read the title out of a value of an item topic; "" where there is none."""
    try:
        return "" if value is None else _decoder.decode(value).title
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _num_records(clients: Clients, topic: str) -> int:
    consumer = clients.consumer()
    try:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends, starts = consumer.end_offsets(places), consumer.beginning_offsets(places)
        return int(sum(ends[place] - starts[place] for place in places))
    except KafkaError as exc:
        msg = f"topic {topic}: {exc!r}"
        raise BrokerError(msg) from exc
    finally:
        consumer.close()
