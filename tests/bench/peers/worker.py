"""The whole worker of the product, pages and metrics and catalogue and both lanes.

Its tokenizer and model are constants, or it only tokenizes, with the tokenizer of a pair folder.
"""

import asyncio
import sys
from pathlib import Path

from sidestream.models.settings import EngineSettings
from sidestream.streams.app import create_app
from sidestream.streams.generations.pair import load_pair
from sidestream.streams.runtime.logs.log import set_up_logging
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.settings import load_settings
from sidestream.streams.worker.run import run
from tests.bench.peers.constant import constant_pair
from tests.bench.peers.progress import note_progress
from tests.bench.support.work import peer_config


def folded(metrics: Metrics) -> int:
    """Count the listens that are done with."""
    counters = (metrics.listens, metrics.dead_letters)
    samples = [sample for counter in counters for family in counter.collect() for sample in family.samples]
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))


def main() -> int:
    """Run until told to stop."""
    config = peer_config()
    settings, _ = load_settings(config["flags"], env={})
    set_up_logging(settings.log)
    asyncio.set_event_loop(asyncio.new_event_loop())
    folder = config.get("artifacts")
    pair = load_pair(Path(folder), EngineSettings(), with_model=False) if folder else constant_pair()
    parts = create_app(settings, pair)
    note_progress(Path(config["progress"]), lambda: folded(parts.metrics))
    return run(parts)


if __name__ == "__main__":
    sys.exit(main())
