"""The work that every peer does for a listen: the same reading, the same catalogue, the same fold, the same stopwatch.

Nothing here knows a Kafka client, so that a peer with an environment of its own can import it.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import fold
from sidestream.tokenizer.catalogue import StoredSid

VERSION = "0123456789ab"
NUM_ITEMS = 20_000

_decoder = msgspec.json.Decoder(ListenRow)
_sids: dict[int, StoredSid | None] = {}


def lookup(item_key: int) -> StoredSid | None:
    """A catalogue that never changes, with one item in 50 missing; a dictionary's cost, as a snapshot's lookup is."""
    try:
        return _sids[item_key]
    except KeyError:
        codes = (item_key % 256, item_key // 256 % 256, item_key // 65_536 % 256)
        return _sids.setdefault(item_key, StoredSid(VERSION, codes) if item_key % 50 else None)


def read(value: bytes | None) -> ListenRow | None:
    """Read a listen as a bare loop would: no check of key, time or encoding; none where it cannot be read."""
    try:
        return _decoder.decode(value or b"")
    except msgspec.MsgspecError:
        return None


def fold_one(state: bytes | None, offset: int, listen: ListenRow) -> bytes:
    """Fold one listen, for peers that see one at a time."""
    return fold(state, ((offset, listen),), lookup).state


@dataclass
class Meter:
    """Times a drain, from `start` to `report`."""

    listens: int
    seen: int = 0
    batches: int = 0
    _began: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin: the peer is about to read its first listen. Another call changes nothing."""
        if self._began is None:
            self._began = (time.perf_counter(), time.process_time())

    def done(self, count: int = 1) -> bool:
        """Count listens whose work is over.

        Returns:
            Whether these were the last.
        """
        self.seen += count
        self.batches += 1
        return self.seen >= self.listens

    def report(self) -> dict[str, Any]:
        """Say what it took; call it when everything is durable."""
        if self._began is None:
            raise RuntimeError("the drain ended before it began: call start before the first listen")
        wall_s, cpu_s = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        return {
            "listens": self.seen,
            "cpu_us": cpu_s / self.seen * 1e6,
            "per_s": self.seen / wall_s,
            "batch_records": self.seen / self.batches,
        }


def contents(rows: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Digest what tables hold, in whatever order it is read.

    Args:
        rows: Keys and values of all partitions.

    Returns:
        Number of keys, and a sum of the digests of all rows.
    """
    count, total = 0, 0
    for key, value in rows:
        row = len(key).to_bytes(4, "little") + key + value
        total += int.from_bytes(hashlib.blake2b(row, digest_size=16).digest(), "little")
        count += 1
    return {"keys": count, "digest": f"{total % 2**128:032x}"}


def peer_config() -> dict[str, Any]:
    """Read what the benchmark told this peer: one JSON object on the command line."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    return config


def leave(report: dict[str, Any]) -> None:
    """Tell the benchmark and end at once: an orderly shutdown is measured by nobody."""
    print("\n" + json.dumps(report), flush=True)  # a line of its own, whatever a library left half-written
    os._exit(0)
