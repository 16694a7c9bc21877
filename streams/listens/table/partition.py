"""User-state table of one partition: a RocksDB database on this worker's disk.

It is opened on assignment and closed on revocation, so that it can move to another process.

The table is a cache of its changelog: it can be deleted at any time and is then rebuilt; damaged tables are deleted.
Every write is one atomic WriteBatch of values, the changelog offset up to which the database holds everything, and the
next source offset; so these three are consistent after any crash. Bulk loads bypass the write-ahead log: a crash leaves
a prefix of them, because a batch never spans two memtables and memtables are flushed in order; no logged write may
follow before they are flushed, because its positions would survive while the loaded values are lost.

Keys are user ids in UTF-8. Keys of the users' blocks (`sidestream.models.history.blocks`) and records about the
changelog (`origin`) begin with 0xff and sort after all user ids. The empty key, which no user can have, holds the
metadata record (`meta`).
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from rocksdict import Cache, DbClosedError, Options, WriteBatch, WriteOptions

from sidestream.models.history.blocks import KEY_MARK, block_prefix, slot_of
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.database import (
    damaged_error,
    discard,
    is_damage,
    make_options,
    mark_damaged,
    open_database,
)
from sidestream.streams.listens.table.meta import (
    META_KEY,
    META_VERSION,
    UNKNOWN_AT,
    Positions,
    TableTopics,
    pack_meta,
    unpack_meta,
)
from sidestream.streams.listens.table.settling import Settling
from sidestream.streams.runtime.clock import WallClock

logger = logging.getLogger(__name__)


class PartitionTable:
    """Database of one partition. Reads and writes may come from different threads.

    Args:
        path: Folder of the database.
        identity: Required identity.
        settings: Sizes.
        cache: Block cache, shared between partitions.
        clock: UTC epoch ms; the machine's by default.

    Attributes:
        positions: Offsets of the data in the database.
        current_at: When it last held all of its changelog, UTC epoch ms; -1 if unknown.
        was_damaged: Whether it is empty because it was damaged and discarded.

    Raises:
        TableDamaged: The database is damaged. Reads and writes that detect damage later raise it too, and mark the
            folder.
        LaneError: The database is locked, cannot be opened, or has another identity.
    """

    def __init__(
        self,
        path: Path,
        identity: bytes,
        settings: TableSettings,
        cache: Cache,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.path = path
        self.was_damaged = False
        self.current_at = UNKNOWN_AT
        self._identity, self._clock = identity, clock or WallClock()
        self._make_options: Callable[[], Options] = lambda: make_options(settings, cache)
        self._logged, self._unlogged = WriteOptions(), WriteOptions()
        # A property, contrary to rocksdict's stubs.
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]
        self._is_loading = False
        # rocksdict refuses to close a database while another thread is inside a call.
        self._closing = threading.Lock()
        self._purge_s = settings.purge_s
        self._db = open_database(path, self._make_options())
        self._settling = Settling(self._purge_s)
        self.topics = TableTopics()
        try:
            self.positions = self._read_positions()
        except LaneError:
            self._db.close()
            raise

    def get(self, key: bytes) -> bytes | None:
        """Read one value.

        Args:
            key: User id in UTF-8.

        Returns:
            The value; None if there is none.
        """
        try:
            return cast(bytes | None, self._db.get(key))
        except Exception as exc:  # rocksdict raises bare Exception
            self._refuse_damage(exc)
            raise

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read many values in one call (about 1.8 µs a key).

        Args:
            keys: User ids in UTF-8.

        Returns:
            Values in the order of the keys.
        """
        try:
            return cast(list[bytes | None], self._db.get(list(keys))) if keys else []
        except Exception as exc:
            self._refuse_damage(exc)
            raise

    def write(self, values: Mapping[bytes, bytes | None], positions: Positions) -> None:
        """Write values and positions atomically; the database then holds all of the changelog.

        Args:
            values: By user id in UTF-8; None deletes.
            positions: Offsets of the database after this write.
        """
        self.flush()
        self.current_at = self._clock()
        self._put(values, positions, self._logged)

    def load(self, values: Mapping[bytes, bytes | None], positions: Positions, *, is_complete: bool = False) -> None:
        """Write in bulk, without the write-ahead log: a third less work, but a crash leaves only a prefix.

        Args:
            values: By user id in UTF-8; None deletes.
            positions: Offsets of the database after this write.
            is_complete: Whether the database then holds all of the changelog; otherwise `current_at` is unchanged.
        """
        self._is_loading = True
        if is_complete:
            self.current_at = self._clock()
        self._put(values, positions, self._unlogged)

    def flush(self) -> None:
        """Flush bulk loads to disk; blocking. Does nothing after logged writes."""
        if not self._is_loading:
            return
        try:
            self._db.flush()
        except Exception as exc:
            self._refuse_damage(exc)
            raise
        self._is_loading = False

    def items(self, from_key: bytes = META_KEY) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all users in key order, starting at a key."""
        for key, value in self.scan(b"", from_key):
            if key.startswith(KEY_MARK):
                return
            if key != META_KEY:
                yield key, value

    def scan(self, prefix: bytes, from_key: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a snapshot of all keys with a prefix, in order.

        Args:
            prefix: First bytes of the keys.
            from_key: First key to return.

        Yields:
            Key and value.
        """
        entry = self._db.iter()
        entry.seek(max(prefix, from_key))
        while entry.valid():
            key = cast(bytes, entry.key())
            if not key.startswith(prefix):
                return
            yield key, cast(bytes, entry.value())
            entry.next()
        try:
            entry.status()  # a damaged block ends the iteration silently
        except Exception as exc:
            self._refuse_damage(exc)
            raise

    def history(self, key: bytes) -> tuple[bytes | None, dict[int, bytes]]:
        """Read a consistent pair of a user's state and blocks.

        Args:
            key: User id in UTF-8.

        Returns:
            The state, None if there is none; and blocks by slot.
        """
        while True:
            state = self.get(key)
            blocks = {slot_of(found): value for found, value in self.scan(block_prefix(key))}
            # Blocks change only together with their state, in one write.
            if self.get(key) == state:
                return state, blocks

    def age_ms(self) -> int | None:
        """Return the time since the database last held all of its changelog; None if unknown."""
        return None if self.current_at == UNKNOWN_AT else self._clock() - self.current_at

    def settle(self) -> bool:
        """Do a round of `settling`; blocking, about 30 ms, from any thread.

        Returns:
            Whether a round was left; False also after `close`.
        """
        with self._closing:
            try:
                return self._settling.run(self._db)
            except DbClosedError:
                return False
            except Exception as exc:
                self._refuse_damage(exc)
                raise

    def clear(self) -> None:
        """Delete everything, including positions, and open an empty database; blocking."""
        with self._closing:
            self._db.close()
            discard(self.path)
            self._db = open_database(self.path, self._make_options())
            self._settling = Settling(self._purge_s)
        self._is_loading, self.positions, self.current_at = False, Positions(), UNKNOWN_AT

    def close(self) -> None:
        """Close the database, so that another process can open it; idempotent."""
        try:
            with self._closing:
                self._db.close()
        except DbClosedError:
            return
        except Exception as exc:  # noqa: BLE001 - rocksdict raises bare Exception; the lane's error is already reported
            # Unflushed data is in the write-ahead log, or was bulk-loaded and is read from the changelog again.
            logger.warning("user-state table %s: closed with an error: %s", self.path, exc)
            if is_damage(exc):
                mark_damaged(self.path, exc)

    def _put(self, values: Mapping[bytes, bytes | None], positions: Positions, options: WriteOptions) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in values.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(META_KEY, pack_meta(positions, self.topics, self.current_at, self._identity))
        try:
            self._db.write(batch, options)
        except Exception as exc:
            self._refuse_damage(exc)
            raise
        self.positions = positions

    def set_topics(self, topics: TableTopics) -> None:
        """Set the current topics, stored with the next write; the source offset of another source is discarded."""
        stored, self.topics = self.topics, topics
        if stored.source_id and topics.source_id and stored.source_id != topics.source_id:
            self.positions = Positions(self.positions.changelog_offset)

    def _refuse_damage(self, error: Exception) -> None:
        if is_damage(error):
            mark_damaged(self.path, error)
            raise damaged_error(self.path, error) from error

    def _read_positions(self) -> Positions:
        meta = self.get(META_KEY)
        if meta is None:
            return Positions()
        if (found := unpack_meta(meta, self._identity)) is not None:
            positions, self.topics, self.current_at = found
            return positions
        msg = (
            f"user-state table {self.path}: expected layout up to {META_VERSION} of {self._identity.decode()}, "
            f"got layout {meta[0]} of {meta.rpartition(bytes(1))[2].decode(errors='replace')}; stop the worker, delete "
            "the folder"
        )
        raise LaneError(msg)
