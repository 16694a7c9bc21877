"""Asks a worker's recommender for candidates while live streams begin, talk and end."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sidestream.models.data import LogFolder
from sidestream.models.history import fold
from sidestream.models.recommend import Recommender, Steps
from sidestream.models.recommend.settings import RecommendSettings
from sidestream.models.records import Listen, SessionStart
from sidestream.models.settings import EngineSettings
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.generations.pair import load_pair
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue
from sidestream.tokenizer.tokenizer import CatalogTokenizer
from tests.bench.support.live_streams import EPOCH_MS, SEGMENT_MS, Stream
from tests.bench.support.live_worker import SIDS, TOPICS, LiveWorker, Log, record
from tests.models.log_catalogue import catalogue_at

ON_AIR = 200
ENDING_A_TICK = 20
TALKING_A_TICK = 30
SESSIONS_A_TICK = 5
CONTROLS_A_TICK = 2
CANDIDATES_A_SESSION = 50
USERS = 24
TASTES = 12


class Air:
    """Streams on the air, and the worker that tokenizes and recommends them."""

    def __init__(self, tokenizer: CatalogTokenizer, folder: Path, seed: int) -> None:
        self.rng, self.log, self.clock = np.random.default_rng(seed), Log(), LogClock()
        self.now_ms = EPOCH_MS
        self.agent = LiveWorker([tokenizer], folder, self.log)
        pair = load_pair(shipped_pair(), EngineSettings())
        if pair.vectorize is None:
            raise RuntimeError(f"{shipped_pair()}: expected a pair with a model, got a tokenizer alone")
        sizes, dim = tokenizer.codebook_sizes, tokenizer.vector_dim
        catalogue = Catalogue(tokenizer.version, sizes, pair.dim, pair.vectorize, x_dim=dim)
        decoder = UpdateDecoder(tokenizer.version, sizes, dim)
        self.catalogue = CurrentCatalogue(catalogue, decoder, CatalogueSettings(), Metrics(), self.clock)
        self.recommender = Recommender(pair.engine, tokenizer.version, pair.model_version, RecommendSettings())
        self.on_air: list[tuple[Stream, Any, bool]] = []
        self.ended: set[str] = set()
        self.states: dict[str, bytes] = {}
        self._offsets = {"catalog": 0, "segments": 0, "listens": 0, "sent": 0}

    def number(self, of: str) -> int:
        """Count one up."""
        self._offsets[of] += 1
        return self._offsets[of] - 1

    async def publish(self, records: list[Any]) -> None:
        """Let records through the agent, and what it wrote into the catalogue."""
        sent = len(self.log.written)
        await self.agent.take(records)
        values = [(key, value) for topic, key, value in self.log.written[sent:] if topic == SIDS]
        self.catalogue.apply(values, 0.0)

    def begin(self) -> Any:
        """Put another stream on the air; half of them say in advance when they end."""
        number, taste = self.number("sent"), int(self.rng.integers(TASTES))
        seconds = int(self.rng.integers(30, 240))
        stream = Stream(f"live-{number:06d}", taste, self.now_ms, seconds, taste, seconds)
        item = stream.item(expires=bool(number % 2))
        self.on_air.append((stream, stream.segments(), bool(number % 2)))
        return record(TOPICS.catalog_items, self.number("catalog"), item.item_id, item.to_json(), item.at)

    def end(self, count: int) -> list[Any]:
        """Take streams off the air: those that expired by now, and some by tombstone."""
        over = [one for one in self.on_air if one[2] and one[0].begins_at + one[0].seconds * 1_000 <= self.now_ms]
        removed = [one for one in self.on_air if not one[2]][:count]
        self.ended |= {stream.item_id for stream, *_ in (*over, *removed)}
        self.on_air = [one for one in self.on_air if one[0].item_id not in self.ended]
        return [record(TOPICS.catalog_items, self.number("catalog"), one[0].item_id, None) for one in removed]

    def talk(self, count: int) -> list[Any]:
        """Let some streams say something, an ended one among them, which comes late."""
        picked = [self.on_air[int(place)] for place in self.rng.integers(len(self.on_air), size=count)]
        said = [segment for _, segments, _ in picked if (segment := next(segments, None)) is not None]
        if self.ended and said:
            said.append(said[0].model_copy(update={"item_id": max(self.ended)}))
        offset = self.number
        return [record(TOPICS.live_segments, offset("segments"), s.item_id, s.to_json(), s.at) for s in said]

    def listen(self) -> None:
        """Have every user listen to a stream on the air."""
        for user in range(USERS):
            stream = self.on_air[int(self.rng.integers(len(self.on_air)))][0]
            offset, user_id = self.number("listens"), f"user-{user}"
            heard = Listen(event_id=f"e{offset}", user_id=user_id, item_id=stream.item_id, at=self.now_ms)
            lookup = self.catalogue.snapshot.stored_sid
            self.states[user_id] = fold(self.states.get(user_id), [(offset, heard)], lookup).state

    def ask(self, snapshot: Any) -> list[str]:
        """Answer one session from a snapshot; give the items."""
        user_id, number = f"user-{int(self.rng.integers(USERS))}", self.number("sent")
        start = SessionStart(
            session_id=f"s{number}", user_id=user_id, at=self.now_ms, num_candidates=CANDIDATES_A_SESSION
        )
        steps = Steps(seconds=lambda: 0.0)
        answer = self.recommender.recommend(start, self.states.get(user_id), snapshot, self.now_ms, steps)
        return [candidate.item_id for candidate in answer.candidates]


async def ask_while_streams_end(
    tokenizer: CatalogTokenizer, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Ask for candidates after each swap; count those that had ended before it."""
    air = Air(tokenizer, folder, options.seed)
    generate_world(folder / "world", WorldSettings())
    stock = [item for item in catalogue_at(LogFolder(folder / "world")).values() if item.kind != "live"]
    await air.publish(
        [record(TOPICS.catalog_items, air.number("catalog"), i.item_id, i.to_json(), air.now_ms) for i in stock]
    )
    await air.publish([air.begin() for _ in range(ON_AIR)])
    counts = {"candidates": 0, "live_candidates": 0, "ended_streams": 0, "ended_before_the_swap": 0, "swaps": 0}
    while counts["candidates"] < options.candidates:
        air.now_ms += SEGMENT_MS
        air.clock.observe(air.now_ms)
        before = air.catalogue.snapshot
        coming = [*air.end(ENDING_A_TICK), *air.talk(TALKING_A_TICK)]
        while len(air.on_air) < ON_AIR:
            coming.append(air.begin())
        await air.publish(coming)
        air.agent.items.sweep(air.now_ms)
        for _ in range(CONTROLS_A_TICK if before.num_items else 0):
            counts["ended_before_the_swap"] += sum(item in air.ended for item in air.ask(before))
        snapshot = air.catalogue.build()
        counts["swaps"] += 1
        air.listen()
        for _ in range(SESSIONS_A_TICK):
            found = air.ask(snapshot)
            counts["candidates"] += len(found)
            counts["live_candidates"] += sum(item.startswith("live-") for item in found)
            counts["ended_streams"] += sum(item in air.ended for item in found)
    return {**counts, "streams_ended": len(air.ended)}
