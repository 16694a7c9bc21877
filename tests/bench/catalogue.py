"""The living catalogue by itself: memory, merge beside rebuild, start, and readers while items come, go and move.

Records pass through the worker's own decoder and writer; Kafka is left out, so a start is that of a worker whose
records have arrived: `start_s` from what was saved on this disk and a tail of 1 %, `cold_cpu_s` from all records.
CPU seconds where two ways are compared, wall seconds where somebody waits. Texts (ids, titles, tags) are told apart
from the bytes that are judged: they grow with what people write, not with the catalogue.
"""

import argparse
import os
import queue
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from sidestream.streams.catalogue.current import CurrentCatalogue
from tests.bench.support import catalogue_items as items
from tests.bench.support.catalogue_counts import Counted
from tests.bench.support.catalogue_start import Saved, new_live
from tests.bench.support.harness import Bench, at_most, option_parser, percentile, told

MILLION = 1_000_000
_READERS = 2
_CHECKS_A_PIN = 1_000
_PIN_EVERY_S = 0.001
_NEWLY_HEARD = 10_000


class Sized:
    """One catalogue filled to a size.

    Args:
        source: Makes up the items.
        size: How many.
    """

    def __init__(self, source: items.Items, size: int) -> None:
        self.source, self.size = source, size
        before = _resident_bytes()
        self.live: CurrentCatalogue = new_live()
        self.cold_cpu_s = 0.0
        for batch in source.batches(size):
            begun = time.process_time()
            self.live.apply(batch, 0.0)
            self.cold_cpu_s += time.process_time() - begun
        begun = time.process_time()
        self.live.build()
        self.cold_cpu_s += time.process_time() - begun
        self.resident_bytes = _resident_bytes() - before
        self.next_item, self.generation = size, 0

    def change(self, count: int) -> list[tuple[bytes, bytes | None]]:
        """Make up changes: half new items, a quarter under another SID, a quarter removed."""
        self.generation += 1
        new, moved = count // 2, count // 4
        records: list[tuple[bytes, bytes | None]] = list(self.source.records(self.next_item, new))
        self.next_item += new
        first = (self.generation * count) % (self.size - count)
        records += self.source.records(first, moved, self.generation)
        records += [(b"item-%08d" % number, None) for number in range(first + moved, first + 2 * moved)]
        return records

    def merge_and_rebuild(self, rounds: int) -> tuple[list[float], list[float]]:
        """Merge 1 % and build the same state from scratch, round by round; CPU seconds of each."""
        merges, rebuilds = [], []
        for _ in range(rounds):
            self.live.apply(self.change(max(4, self.size // 100)), time.perf_counter())
            begun = time.process_time()
            snapshot = self.live.build()
            merges.append(time.process_time() - begun)
            store = items.store_of(snapshot)
            begun = time.process_time()
            items.rebuild(store, snapshot.row_alive)
            rebuilds.append(time.process_time() - begun)
        return merges, rebuilds

    def start_again(self) -> dict[str, float]:
        """Save all, forget it, and start from there; a tail of 1 % is half new and half known."""
        saved = Saved(self.live.capture())
        try:
            tail = self.source.records(self.next_item, self.size // 200)
            tail += self.source.records(0, self.size // 200, self.generation + 1)
            self.live.apply(tail, 0.0)
            items_expected = self.live.build().num_items
            self.live = new_live()  # two catalogues of ten million would not fit beside each other
            return {**saved.figures, **saved.start(tail, items_expected)}
        finally:
            saved.close()

    def beside_dicts(self) -> dict[str, float]:
        """Build a trie of dicts over the same SIDs; a ratio above one is in our favour."""
        snapshot = self.live.snapshot
        sids = snapshot.codes_of_rows(np.sort(snapshot.bucket_rows)).tolist()
        begun = time.process_time()
        root = items.dict_trie(sids)
        seconds = time.process_time() - begun
        return {"build_s": seconds, "bytes": items.bytes_of_dicts(root)}


class Churn:
    """Writer and readers at once: open-loop adds, and readers that pin, check and let go.

    Args:
        sized: The catalogue.
        seconds: How long adds come.
        per_s: Adds a second.
        checks: SIDs that the readers look up in all.
    """

    def __init__(self, sized: Sized, seconds: float, per_s: int, checks: int) -> None:
        self.sized, self.seconds, self.per_s, self.checks = sized, seconds, per_s, checks
        self.visible_s: list[float] = []
        self.pins_s: list[float] = []
        self.builds_s: list[float] = []
        self.invalid = self.checked = 0
        self._arrivals: queue.SimpleQueue[tuple[float, list[tuple[bytes, bytes | None]]]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run it to the end: every add is visible and every check made."""
        readers = [threading.Thread(target=self._read, args=(number,)) for number in range(_READERS)]
        readers.append(threading.Thread(target=self._pin))
        adds = threading.Thread(target=self._add)
        for thread in (*readers, adds):
            thread.start()
        self._write(adds)
        self._ended.set()
        for thread in readers:
            thread.join()

    def _add(self) -> None:
        step_s = 0.01
        a_step = max(1, round(self.per_s * step_s))
        made = [self.sized.change(2 * a_step) for _ in range(round(self.seconds / step_s))]
        begun = time.perf_counter()
        for number, records in enumerate(made):
            due = begun + number * step_s
            time.sleep(max(0.0, due - time.perf_counter()))
            # From the schedule, not from when a late thread got to it.
            self._arrivals.put((due, records))

    def _write(self, adds: threading.Thread) -> None:
        live = self.sized.live
        waiting: list[float] = []
        while adds.is_alive() or not self._arrivals.empty() or waiting:
            arrived = [self._arrivals.get() for _ in range(self._arrivals.qsize())]
            if arrived:
                # As the worker does: what a fetch brings is applied at once.
                live.apply([record for _, records in arrived for record in records], arrived[0][0])
                waiting += [due for due, _ in arrived]
            if waiting and live.rebuilds.wait_s() == 0.0:
                begun = time.perf_counter()
                live.build()
                now = time.perf_counter()
                self.builds_s.append(now - begun)
                self.visible_s += [now - due for due in waiting]
                waiting.clear()
            elif not arrived:
                time.sleep(0.002)

    def _read(self, number: int) -> None:
        rng = np.random.default_rng(number)
        left = self.checks // _READERS
        invalid = checked = 0
        pause_s = self.seconds / max(1, left // _CHECKS_A_PIN)
        while left > checked or not self._ended.is_set():
            snapshot = self.sized.live.snapshot
            invalid += items.invalid_among(snapshot, _CHECKS_A_PIN, rng)
            checked += _CHECKS_A_PIN
            snapshot.eligibility()
            time.sleep(pause_s / 2)
        with self._lock:
            self.invalid += invalid
            self.checked += checked

    def _pin(self) -> None:
        """Take the current snapshot again and again, as every request does, and note what the others make of that."""
        live = self.sized.live
        while not self._ended.is_set():
            time.sleep(_PIN_EVERY_S)
            begun = time.perf_counter()
            _ = live.snapshot.version
            self.pins_s.append(time.perf_counter() - begun)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--sizes", default=None, help="items, comma-separated; the largest but 10M is judged")
    parser.add_argument("--ten-million", action="store_true", help="10M items, too: 8.5 GB of memory and ten minutes")
    parser.add_argument("--seconds", type=float, default=None, help="of churn")
    parser.add_argument("--per-s", type=int, default=1_000, help="adds a second under churn")
    parser.add_argument("--checks", type=int, default=None, help="SIDs looked up by readers under churn")
    options = parser.parse_args(arguments)
    sizes = options.sizes or ("2000,20000" if options.smoke else f"10000,{MILLION}")
    options.sizes = [int(size) for size in sizes.split(",")]
    options.rounds = options.rounds or (1 if options.smoke else 9)
    options.seconds = options.seconds or (1.0 if options.smoke else 30.0)
    options.checks = options.checks or (10_000 if options.smoke else MILLION)
    return options


def measure(bench: Bench, size: int, *, with_churn: bool) -> dict[str, Any]:
    """Fill a catalogue and take its figures."""
    options = bench.options
    sized = Sized(items.Items(options.seed), size)
    parts = sized.live.num_bytes()
    texts = parts.pop("texts")
    # The dicts of ten million items would take more memory than all the rest.
    dicts = sized.beside_dicts() if size <= MILLION else {}
    merges, rebuilds = sized.merge_and_rebuild(options.rounds if size <= MILLION else 1)
    found = {
        "cold_cpu_s": sized.cold_cpu_s,
        "resident_bytes_per_item": sized.resident_bytes / size,
        "bytes_per_item": sum(parts.values()) / size,
        "text_bytes_per_item": texts / size,
        "bytes_by_part": {name: round(value / size, 2) for name, value in parts.items()},
        "merge_s": merges,
        "rebuild_s": rebuilds,
        "merge_vs_rebuild": statistics.median(m / r for m, r in zip(merges, rebuilds, strict=True)),
    }
    if dicts:
        found["dict_trie_build_vs_ours"] = dicts["build_s"] / statistics.median(rebuilds)
        found["dict_trie_bytes_vs_ours"] = dicts["bytes"] / (parts["trie"] or 1)
    found |= Counted(sized.live.snapshot, _NEWLY_HEARD).figures()
    bench.say(f"{size:,} items: {found}")
    if with_churn:
        churn = Churn(sized, options.seconds, options.per_s, options.checks)
        churn.run()
        found |= {
            "swap_ms": (percentile(churn.pins_s, 0.999) or 0.0) * 1e3,
            "swap_max_ms": max(churn.pins_s) * 1e3,
            "visible_p99_s": percentile(churn.visible_s, 0.99),
            "visible_p50_s": percentile(churn.visible_s, 0.5),
            "snapshots": len(churn.builds_s),
            "snapshot_p50_s": percentile(churn.builds_s, 0.5),
            "checked_sids": churn.checked,
            "invalid_sids": churn.invalid,
        }
    return found | sized.start_again()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("catalogue", options)
    judged = max(options.sizes)
    for size in options.sizes:
        bench.results[f"{size}"] = measure(bench, size, with_churn=size == judged)
    if options.ten_million:
        bench.results[f"{10 * MILLION}"] = measure(bench, 10 * MILLION, with_churn=False)
    found = bench.results[f"{judged}"]
    bench.checks = [
        at_most("bytes_per_item_1m", found["bytes_per_item"], 250),
        told("text_bytes_per_item_1m", found["text_bytes_per_item"]),
        at_most("merge_vs_rebuild_1m", found["merge_vs_rebuild"], 0.1),
        at_most("start_s_1m", found["start_s"], 15),
        at_most("cold_cpu_s_1m", found["cold_cpu_s"], 60),
        at_most("swap_ms", found["swap_ms"], 1),
        at_most("visible_p99_s", found["visible_p99_s"], 1),
        at_most("invalid_sids", found["invalid_sids"], 0),
        told("popularity_cpu_s_1m", found["popularity_cpu_s"]),
        told("dict_trie_build_vs_ours", found["dict_trie_build_vs_ours"]),
        told("dict_trie_bytes_vs_ours", found["dict_trie_bytes_vs_ours"]),
    ]
    if options.ten_million:
        bench.checks.append(at_most("bytes_per_item_10m", bench.results[f"{10 * MILLION}"]["bytes_per_item"], 250))
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
