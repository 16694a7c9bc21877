import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sidestream.models.data import ListenRow, LogFolder
from sidestream.models.data.importers.histories import HistoryOptions, MappedHistory, import_history
from sidestream.models.data.plays import SplitOptions
from sidestream.models.history import describe, fold
from sidestream.models.recommend import Recommender
from sidestream.models.records.signals import is_positive
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.replay import ReplayCore, ReplayDriver
from sidestream.tokenizer.views import ItemContent
from tests.models.log_catalogue import catalogue_at


@dataclass(frozen=True)
class Encoded:
    codes: np.ndarray
    vectors: np.ndarray
    scales: np.ndarray


class HashTokenizer:
    """Codes and vectors from a hash of the text: equal alone and in bulk."""

    version = "abc123abc123"
    codebook_sizes = (8, 8, 8)
    vector_dim = 16

    def encode_items(self, items: Sequence[ItemContent]) -> Encoded:
        texts = [item.text for item in items]
        digests = [hashlib.blake2b(text.encode(), digest_size=19).digest() for text in texts]
        raw = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(texts), 19)
        codes = (raw[:, :3] % 8).astype(np.int32)
        return Encoded(codes, raw[:, 3:].view(np.int8), np.full(len(texts), 0.01, dtype=np.float32))


def vectorize(item_ids: Sequence[str], codes: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.astype(np.float32), np.full(len(item_ids), 1.0, dtype=np.float32)


def driver(folder: LogFolder, engine: object = None) -> ReplayDriver:
    recommender = Recommender(engine, HashTokenizer.version, "none")
    return ReplayDriver(folder, ReplayCore(HashTokenizer(), vectorize, 16, recommender))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LogFolder:
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(seed=5, listeners=40, days=6))
    return LogFolder(path)


def test_items_of_an_import_are_new_only_where_it_says_when_they_were_published(tmp_path: Path) -> None:
    begin = 1_767_571_200_000
    plays = [{"user": "u", "item": f"i{n % 20}", "at": begin + n * 60_000} for n in range(40)]
    plays += [{"user": "u", "item": "told", "at": begin, "published_at": "2026-01-04"}]
    source = tmp_path / "plays"
    source.write_text("".join(json.dumps(play) + "\n" for play in plays))
    options = HistoryOptions(split=SplitOptions("none"))
    import_history(MappedHistory(source, "jsonl"), tmp_path / "log", options)
    (answer,) = driver(LogFolder(tmp_path / "log")).run()
    assert [candidate.item_id for candidate in answer.candidates if candidate.reserved] == ["told"]


def test_two_runs_give_the_same_answers(folder: LogFolder) -> None:
    first = [answer.to_json() for answer in driver(folder).run()]
    second = [answer.to_json() for answer in driver(folder).run()]
    assert first == second
    assert len(first) == folder.manifest.counts.sessions
    one = driver(folder)
    assert [answer.to_json() for answer in one.run()] == first
    assert [answer.to_json() for answer in one.run()] == first


def test_answers_carry_the_logs_time_and_no_timings(folder: LogFolder) -> None:
    starts = list(folder.sessions())
    answers = list(driver(folder).run())
    for start, answer in zip(starts, answers, strict=True):
        assert answer.session_id == start.session_id
        assert answer.produced_at == answer.requested_at == start.at
        assert set(answer.timings_ms.values()) <= {0.0}
    assert any(answer.fallback and answer.fallback.reason == "no_model" for answer in answers)


def test_candidates_exist_and_are_alive_at_the_time(folder: LogFolder) -> None:
    answered = 0
    for start, answer in zip(list(folder.sessions())[::7], list(driver(folder).run())[::7], strict=True):
        there = catalogue_at(folder, start.at)
        ids = [candidate.item_id for candidate in answer.candidates]
        assert len(set(ids)) == len(ids)
        for item_id in ids:
            market = there[item_id].market
            assert not market or start.market in market
        answered += bool(ids)
    assert answered > 5


def test_states_are_the_fold_of_the_log(folder: LogFolder) -> None:
    one = driver(folder)
    watermarks = {answer.user_id: answer.state_watermark for answer in one.run()}
    logs: dict[str, list[tuple[int, ListenRow]]] = {}
    for offset, listen in enumerate(folder.listens()):
        logs.setdefault(listen.user_id, []).append((offset, listen))
    assert set(logs) == set(one.counts.states)
    for user, log in logs.items():
        expected = describe(fold(None, log, lambda key: None).state)
        got = describe(one.counts.states[user])
        assert got["listens_folded"] == len(log)
        assert any(entry["sid"] for entry in got["history"])
        assert [entry["item_key"] for entry in got["history"]] == [entry["item_key"] for entry in expected["history"]]
        assert watermarks.get(user, -1) <= log[-1][0]
    assert one.counts.listens == folder.manifest.counts.listens
    assert one.counts.items == folder.manifest.counts.items
    assert one.counts.removals == folder.manifest.counts.removals


def test_stopping_early_costs_nothing(folder: LogFolder, tmp_path: Path) -> None:
    run = driver(folder).run()
    first = next(run)
    run.close()
    assert first.to_json() == next(driver(folder).run()).to_json()


def test_listens_determine_popularity_in_log_order(folder: LogFolder) -> None:
    counted: Counter[str] = Counter()
    listens = iter(folder.listens())
    upcoming = next(listens, None)
    seen = 0
    for answer in driver(folder).run():
        # Listens come before session-starts of the same time.
        while upcoming is not None and upcoming.at <= answer.requested_at:
            counted[upcoming.item_id] += is_positive(upcoming.signal)
            upcoming = next(listens, None)
        if answer.fallback is None or not counted or answer.discovery != "any":
            continue
        listed = [c.item_id for c in answer.candidates if c.reserved is None and counted[c.item_id]]
        # Six days of a week's half-life: an item with twice the listens of another one is before it.
        order = [counted[item_id] for item_id in listed]
        assert all(2 * before >= after for before, after in itertools.pairwise(order))
        seen += len(order) > 3
    assert seen > 20


def test_counting_can_be_disabled(folder: LogFolder) -> None:
    recommender = Recommender(None, HashTokenizer.version, "none")
    core = ReplayCore(HashTokenizer(), vectorize, 16, recommender, PopularitySettings(enabled=False))
    plain = [answer.candidates for answer in ReplayDriver(folder, core).run()]
    assert plain != [answer.candidates for answer in driver(folder).run()]
