"""Listens without a positive signal are context only: never held out, a training target, or counted."""

from pathlib import Path

import numpy as np
import pytest

from sidestream.models.data import (
    Clock,
    FolderFacts,
    HeldOutRow,
    ListenRow,
    LogFolder,
    LogFolderWriter,
    Split,
    training_sequences,
)
from sidestream.models.evaluation.run import baselines, held_out_cases
from sidestream.models.history import SIGNALS
from sidestream.models.records import CatalogItem
from sidestream.models.records.signals import is_positive
from sidestream.models.training.item_vectors import initial_item_vectors
from sidestream.models.training.sequences import Batches
from sidestream.models.training.tokenizer import train_tokenizer
from sidestream.models.world import WorldSettings, generate_world
from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.sid import item_keys

AT = 1_700_000_000_000
ITEMS = ("jazz", "rain", "news", "quiz")
FACTS = FolderFacts(
    name="signals",
    source="made by hand",
    licence="none",
    events_are="listens",
    clock=Clock(kind="synthetic", statement="counts"),
    split=Split(protocol="leave_one_out", statement="last"),
)


def write(path: Path, listens: list[tuple[str, str, str]], held: dict[str, tuple[str, str]]) -> LogFolder:
    """A folder of (user, item, signal), and for each user the item and signal of a held-out test listen."""
    with LogFolderWriter(path) as writer:
        for item_id in ITEMS:
            writer.item(CatalogItem(item_id=item_id, kind="track", title=f"About {item_id}", at=AT))
        for number, (user, item_id, signal) in enumerate(listens):
            writer.listen(ListenRow(f"e{number}", user, item_id, AT + number, signal=signal))
        for user, (item_id, signal) in held.items():
            writer.heldout(HeldOutRow(f"t-{user}", user, item_id, AT + 900, signal=signal, role="test"))
        writer.finish(FACTS)
    return LogFolder(path)


def three(user: str, signal: str) -> list[tuple[str, str, str]]:
    """Jazz, rain with the signal, news."""
    return [(user, "jazz", "listen"), (user, "rain", signal), (user, "news", "listen")]


@pytest.fixture(params=SIGNALS)
def signal(request):
    return request.param


@pytest.fixture
def sequences(tmp_path, signal):
    held = {"u": ("quiz", "listen"), "v": ("quiz", signal)}
    return training_sequences(write(tmp_path / "log", [*three("u", signal), *three("v", signal)], held))


def test_every_listen_stays_in_the_history_with_a_mark(sequences, signal):
    assert [rows.tolist() for rows in sequences.history] == [[0, 1, 2], [0, 1, 2]]
    assert [rows.tolist() for rows in sequences.train] == [[0, 1, 2], [0, 1, 2]]
    assert [marks.tolist() for marks in sequences.is_liked] == [[True, is_positive(signal), True]] * 2
    assert [rows.tolist() for rows in sequences.liked] == [[0, 1, 2] if is_positive(signal) else [0, 2]] * 2


def test_a_held_out_listen_is_a_target_only_if_it_was_liked(sequences, signal):
    assert sequences.test.tolist() == [3, 3 if is_positive(signal) else -1]
    cases = held_out_cases(sequences, "test")
    assert len(cases.targets) == 1 + is_positive(signal)
    assert [marks.tolist() for marks in cases.is_liked] == [[True, is_positive(signal), True]] * len(cases.targets)


def test_the_last_listen_learned_from_is_of_the_training_part_and_liked(tmp_path, signal):
    with LogFolderWriter(tmp_path / "log") as writer:
        writer.item(CatalogItem(item_id="a", kind="track", at=AT))
        for number in range(4):
            signal_of = signal if number == 1 else "listen"
            writer.listen(ListenRow(f"e{number}", "u", "a", AT + number, signal=signal_of))
        writer.heldout(HeldOutRow("e2", "u", "a", AT + 2, role="valid"))
        writer.heldout(HeldOutRow("e9", "u", "a", AT + 9, role="test"))
        writer.finish(FACTS)
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    assert sequences.liked_until == AT + (1 if is_positive(signal) else 0)
    assert training_sequences(write(tmp_path / "empty", [], {})).liked_until is None


def test_a_validation_listen_that_was_not_liked_cuts_nothing(tmp_path, signal):
    with LogFolderWriter(tmp_path / "log") as writer:
        writer.item(CatalogItem(item_id="a", kind="track", at=AT))
        writer.listen(ListenRow("e0", "u", "a", AT))
        writer.listen(ListenRow("e1", "u", "a", AT + 1, signal=signal))
        writer.heldout(HeldOutRow("e1", "u", "a", AT + 1, signal=signal, role="valid"))
        writer.finish(FACTS)
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    assert sequences.valid.tolist() == [0 if is_positive(signal) else -1]
    assert len(sequences.train[0]) == (1 if is_positive(signal) else 2)
    assert len(sequences.train_is_liked[0]) == len(sequences.train[0])


def test_baselines_count_only_what_was_liked(sequences, signal):
    rankers = baselines(sequences)
    listed = rankers["popularity"].rank(np.empty(0, np.int32), 4, False)
    assert (1 in listed) == is_positive(signal)
    neighbours = rankers["item_knn"].rank(np.array([0], np.int32), 4, False)
    assert (1 in neighbours) == is_positive(signal)


def test_item_knn_recommends_nothing_for_what_was_not_liked(sequences):
    knn = baselines(sequences)["item_knn"]
    history = np.array([0, 2], np.int32)
    both = knn.rank(history, 4, False, np.array([True, True]))
    assert both.tolist() == knn.rank(history, 4, False).tolist()
    assert knn.rank(history, 4, False, np.array([True, False])).tolist() == knn.rank(history[:1], 4, False).tolist()
    assert knn.rank(history, 4, False, np.array([False, False])).tolist() == []
    # Heard items are excluded regardless of their signal.
    assert not set(knn.rank(history, 4, True, np.array([True, False])).tolist()) & {0, 2}


def test_item_vectors_begin_with_what_was_liked_together(sequences, signal):
    vectors = initial_item_vectors(sequences.liked, 4, 8, 1.0, 5, np.random.default_rng(0))
    assert vectors[1].any() == is_positive(signal)


def test_batches_predict_only_what_was_liked_and_read_everything(sequences, signal):
    batches = Batches(sequences.train, np.zeros((4, 2), np.int32), 8, 64, 1, sequences.train_is_liked)
    (batch,) = batches.epoch(np.random.default_rng(0))
    assert batch.items.tolist() == [[0, 1]] * 2
    assert batch.valid.all()
    assert batch.asked.tolist() == [[is_positive(signal), True]] * 2


def test_a_tokenizer_learns_only_from_what_was_liked(tmp_path, signal):
    folder = write(tmp_path / "log", [part for user in "abcdef" for part in three(user, signal)], {})
    settings = TokenizerSettings()
    fitted = train_tokenizer(folder, tmp_path / "tokenizer", WordLlamaEncoder(), settings)
    heard = set(fitted.tokenizer.tokenizer.representation.keys.tolist())
    assert (int(item_keys(["rain"])[0]) in heard) == is_positive(signal)


def test_the_world_holds_out_only_what_was_liked(tmp_path):
    # Of this size several sessions begin or end with what was skipped or disliked.
    generate_world(tmp_path / "log", WorldSettings(seed=5, listeners=300, days=6))
    folder = LogFolder(tmp_path / "log")
    held = list(folder.heldout())
    assert {row.role for row in held} == {"valid", "test"}
    assert all(is_positive(row.signal) for row in held)
    assert any(not is_positive(row.signal) for row in folder.listens())
