"""The user-state table on this worker's disk: one RocksDB per assigned partition.

It is opened on assignment and closed on revoke, so that it can move to another process.

The table is a cache of its changelog: it may always be deleted, and is rebuilt. Every write is one atomic WriteBatch
of values, the changelog offset up to which the database holds everything, and the next source offset; so after any
crash those three agree.

Keys are user ids in UTF-8. The empty key, which no user can have (ids have at least one character), holds

    offset  size  field
    0       1     version of this layout (1)
    1       8     changelog offset: everything up to and including it is in the database, -1 for nothing (i64 LE)
    9       8     next source offset: everything before it is folded, -1 if never folded (i64 LE)
    17      n     identity: `source topic|changelog topic|partition count|partition`, UTF-8
"""

import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rocksdict import BlockBasedOptions, Cache, DbClosedError, DBCompressionType, Options, Rdict, WriteBatch

from streams.errors import LaneError
from streams.lane.settings import TableSettings

META_KEY = b""
META_VERSION = 1
_META = struct.Struct("<Bqq")


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """What a table is made from; a database of another identity is never read."""

    source_topic: str
    changelog_topic: str
    num_partitions: int

    def of(self, partition: int) -> bytes:
        """Name one partition's database.

        Args:
            partition: Partition of the source topic and of the changelog.

        Returns:
            Text that is stored in the database.
        """
        return f"{self.source_topic}|{self.changelog_topic}|{self.num_partitions}|{partition}".encode()


@dataclass(frozen=True, slots=True)
class Positions:
    """Up to where a database holds its changelog, and from where its source goes on; -1 for never."""

    changelog_offset: int = -1
    source_next: int = -1


class PartitionTable:
    """The database of one partition. Reads and writes may come from different threads.

    Args:
        path: Folder of the database.
        identity: What it must be made from.
        settings: Sizes.
        cache: Block cache, shared between partitions.

    Raises:
        LaneError: The database is damaged, locked, or made from something else.
    """

    def __init__(self, path: Path, identity: bytes, settings: TableSettings, cache: Cache) -> None:
        self.path = path
        self._identity = identity
        self._make_options: Callable[[], Options] = lambda: _options(settings, cache)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open()
        self.positions = self._read_positions()

    def get(self, key: bytes) -> bytes | None:
        """Read one value.

        Args:
            key: User id in UTF-8.

        Returns:
            The value, or none.
        """
        return cast(bytes | None, self._db.get(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read many values in one call (about 1.8 µs a key).

        Args:
            keys: User ids in UTF-8.

        Returns:
            Values in the order of the keys.
        """
        return cast(list[bytes | None], self._db.get(list(keys))) if keys else []

    def write(self, values: Mapping[bytes, bytes | None], positions: Positions) -> None:
        """Write values and positions in one atomic step.

        Args:
            values: By user id in UTF-8; none deletes.
            positions: What the database holds once this is written.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in values.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        packed = _META.pack(META_VERSION, positions.changelog_offset, positions.source_next)
        batch.put(META_KEY, packed + self._identity)
        self._db.write(batch)
        self.positions = positions

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through all users in key order."""
        for key, value in self._db.items():
            if key != META_KEY:
                yield cast(bytes, key), value

    def clear(self) -> None:
        """Delete everything, positions too, and start with an empty database."""
        self._db.close()
        shutil.rmtree(self.path)
        self._db = self._open()
        self.positions = Positions()

    def close(self) -> None:
        """Let go of the database, so that another process can open it; more calls do nothing."""
        try:
            self._db.close()
        except DbClosedError:
            return

    def _open(self) -> Rdict:
        try:
            return Rdict(str(self.path), self._make_options())
        except Exception as exc:  # rocksdict raises bare Exception
            msg = (
                f"user-state table {self.path}: cannot be opened ({exc}); if another worker uses this folder, give "
                "each its own data_dir; if it is damaged, stop and delete it: it is rebuilt from the changelog"
            )
            raise LaneError(msg) from exc

    def _read_positions(self) -> Positions:
        meta = self.get(META_KEY)
        if meta is None:
            return Positions()
        version, changelog_offset, source_next = _META.unpack_from(meta)
        identity = meta[_META.size :]
        if version == META_VERSION and identity == self._identity:
            return Positions(changelog_offset, source_next)
        self._db.close()
        msg = (
            f"user-state table {self.path}: expected layout {META_VERSION} of {self._identity.decode()}, got layout "
            f"{version} of {identity.decode(errors='replace')}; stop the worker and delete the folder: it is rebuilt "
            "from the changelog"
        )
        raise LaneError(msg)


class UserTable:
    """The databases of all partitions that this worker owns.

    Args:
        folder: Where they live, one subfolder each.
        identity: What they are made from.
        settings: Sizes.
    """

    def __init__(self, folder: Path, identity: TableIdentity, settings: TableSettings) -> None:
        self.folder = folder
        self.identity = identity
        self._settings = settings
        self._cache = Cache(settings.block_cache_bytes)
        self._open: dict[int, PartitionTable] = {}

    def open(self, partitions: Sequence[int]) -> dict[int, PartitionTable]:
        """Open databases; blocking, 10 to 20 ms each.

        Args:
            partitions: Those that this worker now owns.

        Returns:
            Their databases.

        Raises:
            LaneError: One is damaged, locked, or made from something else.
        """
        for partition in partitions:
            if partition not in self._open:
                path = self.folder / self.identity.source_topic / f"{partition}.db"
                self._open[partition] = PartitionTable(path, self.identity.of(partition), self._settings, self._cache)
        return {partition: self._open[partition] for partition in partitions}

    def get(self, partition: int) -> PartitionTable | None:
        """Give the database of a partition.

        Args:
            partition: Which.

        Returns:
            The database, or none where it is not open.
        """
        return self._open.get(partition)

    def close(self) -> None:
        """Close all databases; blocking, about 20 ms each."""
        while self._open:
            _, table = self._open.popitem()
            table.close()


def _options(settings: TableSettings, cache: Cache) -> Options:
    # Built afresh for each open. Without these, RocksDB takes 64 MiB memtables and an 8 MiB cache per database.
    block = BlockBasedOptions()
    block.set_block_cache(cache)
    block.set_cache_index_and_filter_blocks(True)
    if settings.bloom_bits:
        block.set_bloom_filter(settings.bloom_bits, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(block)
    options.set_write_buffer_size(settings.write_buffer_bytes)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(settings.max_open_files)
    options.set_max_background_jobs(2)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_stats_dump_period_sec(0)
    return options
