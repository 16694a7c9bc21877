"""RocksDB on this worker's disk: how one is opened, when it counts as damaged, and how it is thrown away.

A damaged database may be deleted, because its changelog rebuilds it. One that another process has open may not, nor one
that cannot be read for another reason (permissions, a full or absent disk): those remain errors for a person.

RocksDB recognises damage when it opens (manifest, footers, sizes) or only when a block is read. In the second case the
folder is marked, the worker ends, and the next one that opens it finds the mark.
"""

import fcntl
import logging
import re
import shutil
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict

from sidestream.streams.errors import LaneError, TableDamaged
from sidestream.streams.listens.settings import TableSettings

logger = logging.getLogger(__name__)

_MARK = "DAMAGED"
# rocksdict raises bare Exceptions with RocksDB's status as text. A file that the manifest names and that is gone is
# damage too, but an input/output error: of those no other kind is.
_DAMAGE = re.compile(r"\bCorruption: |^IO error: No such file or directory: While open(ing)? a file ")


def is_damage(error: BaseException) -> bool:
    """Tell whether RocksDB found its files damaged.

    Args:
        error: What rocksdict raised.

    Returns:
        True for damage; False for all that deleting the database would not cure.
    """
    return _DAMAGE.search(str(error)) is not None


def damage(path: Path, why: object) -> TableDamaged:
    """Say that a database is damaged.

    Args:
        path: Its folder.
        why: RocksDB's words.

    Returns:
        The error.
    """
    said = " ".join(str(why).split())
    msg = f"user-state table {path}: damaged ({said}); the next worker that opens it rebuilds it from the changelog"
    return TableDamaged(msg)


def mark_damaged(path: Path, why: object) -> None:
    """Note in the folder that the database is damaged, so that the next one to open it throws it away.

    Args:
        path: Folder of the database.
        why: RocksDB's words.
    """
    try:
        (path / _MARK).write_text(str(why))
    except OSError as exc:  # a full disk: the damage is found again sooner or later
        logger.warning("user-state table %s: cannot be marked as damaged: %r", path, exc)


def open_database(path: Path, options: Options) -> Rdict:
    """Open or create a database.

    Args:
        path: Its folder; created if absent.
        options: Made for this opening alone.

    Returns:
        The database.

    Raises:
        TableDamaged: It is damaged.
        LaneError: It cannot be opened for another reason; mostly, another process has it open.
    """
    if (path / _MARK).exists():
        raise damage(path, (path / _MARK).read_text(errors="replace"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Rdict(str(path), options)
    except Exception as exc:  # rocksdict raises bare Exception
        if is_damage(exc):
            raise damage(path, exc) from exc
        msg = (
            f"user-state table {path}: cannot be opened ({exc}); if another worker uses this folder, give each its "
            "own data_dir; else look at the disk and its permissions"
        )
        raise LaneError(msg) from exc


def discard(path: Path) -> None:
    """Delete a database that nobody has open.

    Its folder is renamed first: one that is half deleted when the process dies must not be opened again.

    Args:
        path: Folder of the database; absent is fine.

    Raises:
        LaneError: Another process has it open.
    """
    leaving = path.with_name(path.name + ".discarded")
    shutil.rmtree(leaving, ignore_errors=True)
    if not path.exists():
        return
    _refuse_locked(path)
    path.rename(leaving)
    shutil.rmtree(leaving)


def _refuse_locked(path: Path) -> None:
    lock = path / "LOCK"
    if not lock.exists():
        return
    with lock.open("r+b") as file:
        try:
            # Source: RocksDB's PosixEnv locks this file with fcntl(F_SETLK); lockf is the same call.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            msg = (
                f"user-state table {path}: damaged, and open in another process, so it is left alone; stop that "
                "process, or give this worker its own data_dir"
            )
            raise LaneError(msg) from exc


def make_options(settings: TableSettings, cache: Cache) -> Options:
    """Make the options of one opening: small, because a worker has one database for each partition.

    Args:
        settings: Sizes.
        cache: Block cache, shared between databases.

    Returns:
        The options; opening uses them up.
    """
    # Without these, RocksDB takes 64 MiB memtables and an 8 MiB cache per database.
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
