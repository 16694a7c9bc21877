"""Local RocksDB databases: opening, detection of damage, deletion.

A damaged database may be deleted, because it is rebuilt from its changelog. A database that another process has open
must not be deleted, nor one that cannot be read for another reason (permissions, a full or missing disk): these errors
are left to the operator.

RocksDB detects damage when it opens a database (manifest, footers, sizes) or only when a block is read. In the second
case the folder is marked, the worker stops, and the next one that opens it finds the mark.
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

# Suffix of a folder that is being deleted.
DISCARDED = ".discarded"
_MARK = "DAMAGED"
# rocksdict raises bare Exceptions with RocksDB's status as text. A missing file that the manifest lists is reported as
# an IO error but counts as damage; no other IO error does.
_DAMAGE = re.compile(r"\bCorruption: |^IO error: No such file or directory: While open(ing)? a file ")


def is_damage(error: BaseException) -> bool:
    """Return whether RocksDB reported damaged files; False for errors that deleting the database would not fix."""
    return _DAMAGE.search(str(error)) is not None


def damaged_error(path: Path, why: object) -> TableDamaged:
    """Return the error for a damaged database; `why` is RocksDB's message."""
    reason = " ".join(str(why).split())
    msg = f"user-state table {path}: damaged ({reason}); the next worker that opens it rebuilds it from the changelog"
    return TableDamaged(msg)


def mark_damaged(path: Path, why: object) -> None:
    """Mark the folder of a damaged database, so that the next worker that opens it discards it.

    Args:
        path: Folder of the database.
        why: RocksDB's message.
    """
    try:
        (path / _MARK).write_text(str(why))
    except OSError as exc:  # a full disk: the damage will be detected again
        logger.warning("user-state table %s: cannot be marked as damaged: %r", path, exc)


def open_database(path: Path, options: Options) -> Rdict:
    """Open or create a database.

    Args:
        path: Folder of the database; created if missing.
        options: Options made for this call only.

    Returns:
        The database.

    Raises:
        TableDamaged: The database is damaged.
        LaneError: The database cannot be opened for another reason, usually because another process has it open.
    """
    if (path / _MARK).exists():
        raise damaged_error(path, (path / _MARK).read_text(errors="replace"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Rdict(str(path), options)
    except Exception as exc:  # rocksdict raises bare Exception
        if is_damage(exc):
            raise damaged_error(path, exc) from exc
        msg = (
            f"user-state table {path}: cannot be opened ({exc}); if another worker uses this folder, give each its "
            "own data_dir; otherwise check the disk and its permissions"
        )
        raise LaneError(msg) from exc


def discard(path: Path) -> None:
    """Delete a database that no process has open.

    Its folder is renamed first: a half-deleted folder left by a crash must not be opened again.

    Args:
        path: Folder of the database; may be missing.

    Raises:
        LaneError: Another process has the database open.
    """
    discard_leftovers(path)
    if not path.exists():
        return
    _refuse_locked(path)
    discarded = path.with_name(path.name + DISCARDED)
    path.rename(discarded)
    shutil.rmtree(discarded)


def discard_leftovers(path: Path) -> None:
    """Delete what an interrupted `discard` of a database left, if anything."""
    shutil.rmtree(path.with_name(path.name + DISCARDED), ignore_errors=True)


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
                f"user-state table {path}: open in another process, so it is not deleted; stop that process, or give "
                "this worker its own data_dir"
            )
            raise LaneError(msg) from exc


def make_options(settings: TableSettings, cache: Cache) -> Options:
    """Create the options for opening one database: small, because a worker has one per partition.

    Args:
        settings: Sizes.
        cache: Block cache, shared between databases.

    Returns:
        The options; they can be used only once.
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
    # A new manifest with each change of files, 1 to 3 ms: the old one keeps ids of users who are gone, see `settling`.
    options.set_max_manifest_file_size(1)
    return options
