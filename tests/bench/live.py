"""Live items: how soon a shift shows, how steady the rest is, whether ended streams come back, what a restart changes.

No Kafka: the catalogue agent with its live items, the catalogue and the recommender of a worker, with the shipped pair,
fed record by record under the streams' own clock; what would be on Kafka is kept in memory. The same restarts on a real
Kafka are in `tests/integration/test_live_streams.py`.

* hour: streams of an hour, one segment of five seconds after the other, half of them with another topic from some
  moment on, while their listeners stay as they were. Changes in the first two minutes are told apart.
* restarts: a worker dies before one of its writes, somewhere in every batch; its heir gets the batch before and the
  batch once more. What is on the topics then is compared with the run that nobody disturbed.
* ended: streams begin, talk and end by tombstone or expiry, late segments included, while sessions are answered from
  the snapshot after each swap. As a control, some sessions are answered from the one before it.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sidestream.models.records import ItemSids
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.tokenizing.live.reading import listeners_value
from sidestream.streams.tokenizing.records import ConsumedRecord
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.live import Audience, LiveSettings
from sidestream.tokenizer.tokenizer import CatalogTokenizer
from tests.bench.support.harness import Bench, at_most, option_parser, told
from tests.bench.support.live_ended import ask_while_streams_end
from tests.bench.support.live_streams import SEGMENT_MS, Stream, sentence, streams
from tests.bench.support.live_worker import SIDS, TOPICS, LiveWorker, Log, record

SETTLING_S = 120
LISTENERS_MS = 10_000
BATCH = 16
KILLS_A_BATCH = 2


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--streams", type=int, help="of the hour")
    parser.add_argument("--seconds", type=int, help="how long each lasts")
    parser.add_argument("--candidates", type=int, help="asked for while streams end")
    options = parser.parse_args(arguments)
    options.streams = options.streams or (4 if options.smoke else 48)
    options.seconds = options.seconds or (300 if options.smoke else 3_600)
    options.candidates = options.candidates or (1_000 if options.smoke else 100_000)
    return options


def log_of(made: list[Stream], tokenizer: CatalogTokenizer, seed: int) -> list[ConsumedRecord]:
    """Give all records of some streams in the order of their times: events, segments, sums of listeners."""
    rng = np.random.default_rng(seed)
    dated: list[tuple[int, ConsumedRecord]] = []
    for offset, stream in enumerate(made):
        item = stream.item()
        dated.append((item.at, record(TOPICS.catalog_items, offset, item.item_id, item.to_json(), item.at)))
        for segment in stream.segments():
            dated.append((segment.at, record(TOPICS.live_segments, 0, segment.item_id, segment.to_json(), segment.at)))
        audience = Audience(LiveSettings().listener_half_life_s)
        for number, after_ms in enumerate(range(LISTENERS_MS, stream.seconds * 1_000, LISTENERS_MS)):
            heard = sentence(stream.taste, rng)
            vector = tokenizer.tokenizer.representation.represent(
                np.zeros(1, dtype=np.uint64), tokenizer.encoder.encode([heard])
            )[0]
            at = stream.begins_at + after_ms
            audience.add_listen(stream.item_id, 0, number, at, {tokenizer.version: vector.astype(np.float64)})
            for item_id, partial in audience.publish([stream.item_id]):
                dated.append(
                    (at, record(TOPICS.live_listeners, number, item_id, listeners_value(item_id, partial), at))
                )
    dated.sort(key=lambda pair: (pair[0], pair[1].topic, pair[1].key))
    offsets: Counter[str] = Counter()
    placed = []
    for _, one in dated:
        placed.append(ConsumedRecord(one.topic, 0, offsets[one.topic], one.timestamp, one.key, one.value, []))
        offsets[one.topic] += 1
    return placed


def batches_of(records: list[ConsumedRecord]) -> list[list[ConsumedRecord]]:
    """Cut a log into the agent's batches."""
    return [records[first : first + BATCH] for first in range(0, len(records), BATCH)]


async def hour(tokenizer: CatalogTokenizer, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Play streams of an hour; tell when each changed its SID."""
    made = streams(options.streams, options.seconds, options.seed)
    records, log = log_of(made, tokenizer, options.seed), Log()
    worker = LiveWorker([tokenizer], folder, log)
    changed: dict[str, list[float]] = {stream.item_id: [] for stream in made}
    begins = {stream.item_id: stream.begins_at for stream in made}
    sids: dict[str, Any] = {}
    for one in records:
        before = len(log.written)
        await worker.take([one])
        for topic, key, value in log.written[before:]:
            if topic == SIDS and value is not None and key is not None:
                item_id, sid = key.decode(), ItemSids.from_json(value).versions[tokenizer.version].sid
                if sids.setdefault(item_id, sid) != sid:
                    changed[item_id].append((one.timestamp - begins[item_id]) / 1e3)
                    sids[item_id] = sid
    window_s = LiveSettings().window_s
    waits, steady, settling, followed = [], 0, 0, 0
    for stream in made:
        times = changed[stream.item_id]
        settling += sum(at_s <= SETTLING_S for at_s in times)
        shift_s = stream.shifts_s if stream.shifts else stream.seconds + 1
        steady += sum(SETTLING_S < at_s <= shift_s for at_s in times)
        after = [at_s - shift_s for at_s in times if at_s > shift_s]
        if stream.shifts:
            waits.append(after[0] / window_s if after else float("inf"))
            followed += len(after) - 1
    hours = options.streams * options.seconds / 3_600
    return {
        "item_hours": hours,
        "segments": sum(one.topic == TOPICS.live_segments.name for one in records),
        "shift_windows": max(waits),
        "mean_shift_windows": float(np.mean(waits)),
        "steady_changes": steady,
        "settling_changes": settling,
        "changes_after_the_first_of_a_shift": followed,
        "churn_per_item_hour": sum(map(len, changed.values())) / hours,
        "segment_ms": SEGMENT_MS,
    }


async def restarts(tokenizer: CatalogTokenizer, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill a worker in every batch; count the keys whose bytes differ afterwards."""
    made = streams(2, 100, options.seed) if options.smoke else streams(6, 300, options.seed)
    batches = batches_of(log_of(made, tokenizer, options.seed))
    log, rng = Log(), np.random.default_rng(options.seed)
    worker = LiveWorker([tokenizer], folder, log)
    differences = kills = 0
    for number, batch in enumerate(batches):
        before = log.copy()
        await worker.take(batch)
        writes = len(log.written) - len(before.written)
        for place in sorted(set(rng.integers(0, writes, KILLS_A_BATCH).tolist())) if writes else ():
            other = before.copy()
            survived = await LiveWorker([tokenizer], folder, other, writes=place).take(batch)
            heir = LiveWorker([tokenizer], folder, other)
            for again in batches[max(0, number - 1) : number + 1]:
                await heir.take(again)
            kills += not survived
            keys = set(other.latest) | set(log.latest)
            differences += sum(other.latest.get(key) != log.latest.get(key) for key in keys)
    return {"batches": len(batches), "kills": kills, "restart_differences": differences}


async def measure(options: argparse.Namespace, bench: Bench) -> None:
    """Run all parts."""
    tokenizer = load_tokenizer(shipped_pair() / "tokenizer")
    with tempfile.TemporaryDirectory(prefix="bench-live-") as root:
        parts = {"hour": hour, "restarts": restarts, "ended": ask_while_streams_end}
        for name, part in parts.items():
            bench.results[name] = await part(tokenizer, Path(root), options)
            bench.say(f"{name}: {bench.results[name]}")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("live", options)
    asyncio.run(measure(options, bench))
    told_hour, told_ended = bench.results["hour"], bench.results["ended"]
    bench.checks += [
        at_most("shift_windows", told_hour["shift_windows"], 1.0),
        at_most("steady_changes", told_hour["steady_changes"], 0),
        at_most("ended_streams", told_ended["ended_streams"], 0),
        at_most("restart_differences", bench.results["restarts"]["restart_differences"], 0),
        told("churn_per_item_hour", told_hour["churn_per_item_hour"]),
        told("ended_candidates", told_ended["candidates"]),
    ]
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
