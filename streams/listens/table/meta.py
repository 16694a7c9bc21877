"""Metadata record of a local database, stored under its empty key, in layouts 1 to 3.

    offset  size  field
    0       1     version of this layout (3)
    1       8     changelog offset: everything up to and including it is in the database, -1 for nothing (i64 LE)
    9       8     next source offset: everything before it is folded, -1 if never folded (i64 LE)
    17      16    topic id of the source that the second offset belongs to; zeros: unknown
    33      16    topic id of the changelog that the first offset belongs to; zeros: unknown
    49      8     when it last held all of its changelog, UTC epoch ms, -1 if unknown (i64 LE)
    57      n     identity: `source topic|changelog topic|partition count|partition`, UTF-8

Version 1 had no topic ids, its identity begins at 17; version 2 had no time, its identity begins at 49. Both can be
read, and are rewritten as version 3.
"""

import struct
from dataclasses import dataclass
from uuid import UUID

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName

META_KEY = b""
META_VERSION = 3
UNKNOWN_AT = -1
_OFFSETS = struct.Struct("<Bqq")
_WITH_IDS = struct.Struct("<Bqq16s16s")
_WITH_TIME = struct.Struct("<Bqq16s16sq")
_HEADERS = {1: _OFFSETS, 2: _WITH_IDS, 3: _WITH_TIME}


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """Topics that a table is built from; a database with another identity is never read.

    Attributes:
        source_topic: Listens.
        changelog_topic: States.
        num_partitions: Of both.
        partitioner: How users are mapped to them; not stored, left to `source_check` like the partition count.
    """

    source_topic: str
    changelog_topic: str
    num_partitions: int
    partitioner: PartitionerName = DEFAULT_PARTITIONER

    def partition_of(self, user: bytes) -> int:
        """Return the partition of a user's state."""
        return partition_of(user, self.num_partitions, self.partitioner)

    def of(self, partition: int) -> bytes:
        """Return the identity of one partition's database, as stored in the database."""
        return f"{self.source_topic}|{self.changelog_topic}|{self.num_partitions}|{partition}".encode()


@dataclass(frozen=True, slots=True)
class Positions:
    """Last changelog offset that a database holds, and next source offset to fold; -1 for none."""

    changelog_offset: int = -1
    source_next: int = -1


@dataclass(frozen=True, slots=True)
class TableTopics:
    """Topic ids that a database's offsets belong to; None if unknown."""

    source_id: str | None = None
    changelog_id: str | None = None


def pack_meta(positions: Positions, topics: TableTopics, current_at: int, identity: bytes) -> bytes:
    """Encode the record.

    Args:
        positions: Offsets.
        topics: Topics that the offsets belong to.
        current_at: When the database last held all of its changelog, UTC epoch ms.
        identity: Identity of the database.

    Returns:
        The record in the newest layout.
    """
    ids = (_id_bytes(topics.source_id), _id_bytes(topics.changelog_id))
    header = _WITH_TIME.pack(META_VERSION, positions.changelog_offset, positions.source_next, *ids, current_at)
    return header + identity


def unpack_meta(meta: bytes, identity: bytes) -> tuple[Positions, TableTopics, int] | None:
    """Decode the record.

    Args:
        meta: Encoded record.
        identity: Expected identity; the partition count is left to `source_check`.

    Returns:
        Offsets, the topics that they belong to, and when the database was last complete; None for a later layout or
        another identity.
    """
    header = _HEADERS.get(meta[0])
    if header is None or _without_count(meta[header.size :]) != _without_count(identity):
        return None
    _, changelog_offset, source_next, *rest = header.unpack_from(meta)
    topics = TableTopics(*map(_id_of, rest[:2]))
    return Positions(changelog_offset, source_next), topics, rest[2] if len(rest) > 2 else UNKNOWN_AT


def _without_count(identity: bytes) -> list[bytes]:
    parts = identity.rsplit(b"|", 2)
    return [parts[0], parts[-1]]


def _id_bytes(topic_id: str | None) -> bytes:
    return UUID(topic_id).bytes if topic_id else bytes(16)


def _id_of(stored: bytes) -> str | None:
    return str(UUID(bytes=stored)) if any(stored) else None
