"""Values of records that no client library could read: they stand in the place of such a record and say what is known.

A damaged record, or one that another program wrote against the protocol, must not stop its partition. The consumers of
`streams/kafka` hand out a record with such a value instead: `key` is None, `headers` are empty and the value itself is
empty bytes, so that code that does not know this class refuses it like any malformed value and never takes damaged
bytes for data.
"""

from collections.abc import Iterable
from typing import Any, Literal, Self

from sidestream.streams.errors import TopicError

Part = Literal["value", "record", "batch"]
"""What the bytes of an unreadable record are: its own value, the whole record, or the whole batch."""


class Unreadable(bytes):
    """The value of an unreadable record: empty bytes, and in attributes what could be read of it.

    Attributes:
        why: What is wrong, in one line.
        first_offset: First offset that it stands for; the offset of its record is the last one.
        part: What `content` is.
        content: The record's own value; or, if that could not be told apart, all bytes of the record or batch.
        key: The record's key, as far as it could be read.
        headers: The record's headers, as far as they could be read; names are made valid with backslash escapes.
    """

    why: str
    first_offset: int
    part: Part
    content: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    def __new__(
        cls,
        why: str,
        first_offset: int,
        part: Part = "batch",
        content: bytes | None = None,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> Self:
        """Create the value of an unreadable record; see the attributes of the class."""
        made = super().__new__(cls)
        made.why, made.first_offset = why, first_offset
        made.part, made.content, made.key, made.headers = part, content, key, headers
        return made


def require_intact(topic: str, partition: int, records: Iterable[Any]) -> None:
    """Refuse unreadable records, for topics where one is damage to the only copy of something.

    Args:
        topic: Topic name.
        partition: Partition.
        records: Consumer records.

    Raises:
        TopicError: One is unreadable.
    """
    for record in records:
        if record.key is None and isinstance(record.value, Unreadable):
            msg = (
                f"{topic}/{partition}: expected an intact record at offset {record.offset}, got one that cannot be "
                f"read: {record.value.why}; the topic is damaged there: restore it from a replica or a backup"
            )
            raise TopicError(msg)
