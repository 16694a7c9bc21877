"""Removal of superseded bytes from the files of an open database, within a bounded time.

A deletion or a new value leaves the old value in older files until a compaction brings both together, which may take
months on a quiet partition; it stays in the write-ahead log and the memtable too, until a flush. So every change is
followed by `ROUNDS` rounds, a third of `purge_s` apart:

1. the memtable is flushed, and its log deleted;
2. files that hold records older than a third of `purge_s` (RocksDB's `ttl`) are compacted down to the last level, where
   all older values of their keys end. RocksDB looks for such files only when its files change, so this must be caused;
3. the manifest is written anew, and the previous one deleted: it names first and last key of each file, so user ids.

Rounds are not stored: a database that was opened gets all of them. Cost: at most one rewrite of the database in a third
of `purge_s` by RocksDB's own threads, and none once nothing changes; a round itself takes some 30 ms.

Source: RocksDB 9.8, `VersionStorageInfo::ComputeExpiredTtlFiles`, `DBImpl::SetOptions`.
"""

from rocksdict import Rdict

ROUNDS = 3
# Never written, only deleted: a change that a flush can act on. It sorts after all other keys.
_SETTLED_KEY = b"\xff\xffsettled"


class Settling:
    """Rounds of one open database.

    Args:
        purge_s: Within which superseded bytes leave the files.
    """

    def __init__(self, purge_s: float) -> None:
        self._ttl_s = max(1, int(purge_s / ROUNDS))
        self._left = ROUNDS
        self._sequence = -1

    def run(self, db: Rdict) -> bool:
        """Do a round if one is left; blocking, without the GIL.

        Args:
            db: The database.

        Returns:
            Whether there was one.
        """
        if db.latest_sequence_number() != self._sequence:
            self._left = ROUNDS
        if not self._left:
            return False
        self._left -= 1
        db.delete(_SETTLED_KEY)
        db.flush()
        db.set_options({"ttl": str(self._ttl_s)})
        self._sequence = db.latest_sequence_number()
        return True
