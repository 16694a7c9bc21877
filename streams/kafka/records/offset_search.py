"""Ends and beginnings of partitions whose leader has moved: the library asks the former leader again and again.

A consumer without a committed offset asks a partition's leader where it begins or ends. After an answer that another
broker leads it, aiokafka 0.14 asks the same broker again until its metadata are five minutes old: until then none of
the partitions that it asked that broker about are read.
"""

from functools import wraps
from typing import Any

from aiokafka import errors
from aiokafka.consumer.fetcher import Fetcher

_ask = Fetcher._proc_offset_request


def install() -> None:
    """Make all consumers of this process look the leader up; call it before one starts, any number of times."""
    Fetcher._proc_offset_request = _ask_and_look_up


@wraps(_ask)
async def _ask_and_look_up(fetcher: Any, node_id: int, topic_data: Any) -> Any:
    try:
        return await _ask(fetcher, node_id, topic_data)
    except errors.KafkaError as error:
        if error.invalid_metadata:
            fetcher._client.force_metadata_update()  # the caller asks again, by what is known then
        raise
