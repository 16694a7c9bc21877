"""Starts a worker's catalogue again from what the one before it saved on the disk, and the tail that came since."""

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.disk import LocalCatalogue
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.contracts.topics import DAY_MS, TopicState
from sidestream.streams.runtime.clock import LogClock, WallClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue.frozen import Frozen
from tests.bench.support import catalogue_items as items

_TOPIC = TopicState(1, "compact", "bench", 7 * DAY_MS)


def new_live() -> CurrentCatalogue:
    """Return a worker's live catalogue without items."""
    decoder = UpdateDecoder(items.VERSION, items.SIZES, items.DIM)
    return CurrentCatalogue(items.new_catalogue(), decoder, CatalogueSettings(), Metrics(), LogClock())


class Saved:
    """A catalogue on disk, in a folder of its own until `close`.

    Args:
        frozen: The catalogue.
    """

    def __init__(self, frozen: Frozen) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="catalogue-")
        clock = WallClock()
        self._local = LocalCatalogue(Path(self._folder.name), items.VERSION, "bench", clock)
        begun, cpu = time.perf_counter(), time.process_time()
        if not self._local.save(frozen, "bench", "bench", [1], clock()):
            raise SystemExit(f"no room in {self._folder.name} for the catalogue")
        self.figures = {"save_s": time.perf_counter() - begun, "save_cpu_s": time.process_time() - cpu}
        files = [path for path in Path(self._folder.name).rglob("*") if path.is_file()]
        self.figures["saved_bytes_per_item"] = sum(path.stat().st_size for path in files) / max(1, frozen.num_rows)

    def start(self, tail: Sequence[tuple[bytes, bytes | None]], items_expected: int) -> dict[str, float]:
        """Load it, apply the tail and build: from nothing to the first snapshot that a worker answers from."""
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        live = new_live()
        if self._local.load("bench", _TOPIC, {0: (0, 2)}, live.restore) is None:
            raise SystemExit("the catalogue that was just saved was left aside; see the log")
        live.apply(tail, begun)
        found = live.build().num_items
        figures = {"start_s": time.perf_counter() - begun, "start_cpu_s": time.process_time() - cpu}
        if found != items_expected:
            raise SystemExit(f"expected {items_expected} items after the start, got {found}")
        return figures

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
