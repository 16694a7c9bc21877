from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.records import Listen
from sidestream.models.world import WorldSettings, generate_world
from sidestream.models.world.dice import Dice

SMALL = WorldSettings(seed=3, listeners=60, days=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LogFolder:
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path)
    return LogFolder(path)


def test_same_seed_same_bytes_on_any_machine(tmp_path: Path) -> None:
    first = generate_world(tmp_path / "a", SMALL)
    second = generate_world(tmp_path / "b", SMALL)
    assert first == second
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    # Written on one machine: another one must come to the same bytes. A change of the world changes it on purpose.
    assert first.identity == "2af21af1d099f246"
    assert generate_world(tmp_path / "c", SMALL.model_copy(update={"seed": 4})).identity != first.identity


def test_default_size(folder: LogFolder) -> None:
    counts = folder.manifest.counts
    assert 380 <= counts.listeners <= 400
    assert 1_300 <= counts.items <= 1_700
    assert 17_000 <= counts.listens <= 23_000
    assert 900 <= counts.sessions <= 1_200
    folder.verify()


@pytest.mark.parametrize("listeners", [1, 7, 1_000])
def test_other_sizes(tmp_path: Path, listeners: int) -> None:
    ticks: list[tuple[int, int]] = []
    settings = WorldSettings(listeners=listeners, days=4)
    generate_world(tmp_path / "log", settings, progress=lambda done, total: ticks.append((done, total)))
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]
    training_sequences(LogFolder(tmp_path / "log"))


def test_it_says_that_it_is_synthetic(folder: LogFolder) -> None:
    assert folder.manifest.clock.kind == "synthetic"
    items = [event.item for event in folder.catalog() if event.item is not None]
    assert all(item.item_id.startswith("syn-") and item.description.endswith("Synthetic.") for item in items)
    assert {item.kind for item in items} == {"track", "episode", "audiobook", "live"}


def test_no_item_is_heard_while_it_is_not_in_the_catalogue(folder: LogFolder) -> None:
    born = {event.item_id: event.item for event in folder.catalog() if event.item is not None}
    gone = {event.item_id: event.at for event in folder.catalog() if event.item is None}
    assert len(gone) > 100
    markets: dict[str, str | None] = {start.user_id: start.market for start in folder.sessions()}
    for listen in [*folder.listens(), *folder.heldout()]:
        item = born[listen.item_id]
        started_at = listen.at - (listen.listened_ms or 0)
        assert item.at <= started_at
        assert listen.at < gone.get(listen.item_id, 1 << 62)
        assert item.expires_at is None or listen.at < item.expires_at
        assert not item.market or markets[listen.user_id] in item.market
        assert listen.duration_ms == item.duration_ms
        assert 0 <= (listen.listened_ms or 0) <= (listen.duration_ms or 0)


def test_the_last_session_is_kept_aside(folder: LogFolder) -> None:
    starts = {start.user_id: start for start in folder.sessions()}
    latest = {listen.user_id: listen.at for listen in folder.listens()}
    heard: dict[str, set[str]] = {}
    for listen in folder.listens():
        heard.setdefault(listen.user_id, set()).add(listen.item_id)
    tests = [row for row in folder.heldout() if row.role == "test"]
    assert len({row.user_id for row in tests}) == len(tests) > 350
    for row in tests:
        assert starts[row.user_id].session_id == row.session_id
        assert latest.get(row.user_id, 0) < starts[row.user_id].at <= row.at
    new = [row.item_id not in heard.get(row.user_id, set()) for row in tests]
    assert np.mean(new) > 0.95


def test_habits_can_be_seen(folder: LogFolder) -> None:
    seen: Counter[tuple[str, str]] = Counter((row.user_id, row.item_id) for row in folder.listens())
    again = sum(count - 1 for count in seen.values()) / folder.manifest.counts.listens
    assert 0.05 < again < 0.6
    day = 86_400_000
    born = {event.item_id: event.item for event in folder.catalog() if event.item is not None}
    fresh = [r for r in folder.listens() if born[r.item_id].kind == "episode" and r.at - born[r.item_id].at < 2 * day]
    assert len(fresh) > 200
    published = Counter((item.at - folder.manifest.first_at) // day for item in born.values())
    assert all(published[number] > 5 for number in range(21))
    hours = Counter((born[row.item_id].kind, row.at // 3_600_000 % 24) for row in folder.listens())
    morning, evening = (sum(hours["episode", h] for h in span) for span in (range(6, 11), range(17, 23)))
    music = [sum(hours["track", h] for h in span) for span in (range(6, 11), range(17, 23))]
    assert morning / music[0] > 1.5 * evening / music[1]
    assert Counter(start.discovery for start in folder.sessions()).keys() == {"any", "familiar", "unfamiliar"}


def test_there_is_something_to_learn(folder: LogFolder) -> None:
    """Neighbours of the last items beat popularity by far, seen items left out of both."""
    sequences = training_sequences(folder)
    size = len(sequences.item_ids)
    popularity = np.zeros(size)
    near = np.zeros((size, size))
    for rows in sequences.train:
        np.add.at(popularity, rows, 1)
        for distance in range(1, 4):
            np.add.at(near, (rows[:-distance], rows[distance:]), 1 / distance)
    near /= (popularity + 1) ** 0.25
    hits = np.zeros(2)
    for history, target in zip(sequences.history, sequences.test, strict=True):
        if target < 0 or not len(history):
            continue
        recent = history[-10:][::-1]
        for place, score in enumerate((popularity.copy(), (1 / np.arange(1, len(recent) + 1)) @ near[recent])):
            score[history] = -1
            hits[place] += target in np.argsort(-score, kind="stable")[:10]
    assert hits[1] > 4 * hits[0] > 0


def test_rows_fit_the_contract(folder: LogFolder) -> None:
    for row in folder.merged():
        if row.topic == "listens" and row.line % 50 == 0:
            assert Listen.from_json(row.value or b"").user_id == row.key


@given(st.integers(0, 2**63), st.integers(1, 10_000))
def test_dice_stay_inside(seed: int, bound: int) -> None:
    dice = Dice(seed, "test")
    assert all(0 <= dice.below(bound) < bound for _ in range(20))
    assert all(0 <= dice.skewed(bound) < bound for _ in range(20))
    assert all(dice.weighted((0, bound, bound)) == 1 for _ in range(20))


def test_random_streams_are_independent() -> None:
    dice = {path: Dice(1, *path) for path in (("a",), ("b",), ("a", 1))}
    draws = {path: tuple(own.below(1 << 30) for _ in range(3)) for path, own in dice.items()}
    assert len(set(draws.values())) == 3
    assert draws["a",] == (618371768, 268675373, 326549260)
    skew = Dice(1, "skew")
    counts = Counter(skew.skewed(10) for _ in range(4_000))
    assert counts[0] > 5 * counts[9] > 0
