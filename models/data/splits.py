"""Training sequences and held-out targets of a log folder, according to the split in its manifest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidestream.models.data.log_folder import LogFolder
from sidestream.models.errors import DataError
from sidestream.models.records.signals import is_positive, positive_mask
from sidestream.models.records.times import LATEST_AT

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sequences:
    """All listeners' listens as item indices, oldest first, and their held-out targets.

    Training may use only `train`: co-occurrence, popularity, k-means and weights. The input of the validation is
    `train`, that of the test is `history` (which includes the validation item). Both contain listens of every signal,
    like a worker's states; only those that `is_liked` marks are counted or predicted.

    Attributes:
        item_ids: Every item that the catalogue file ever published, in order of first publication.
        user_ids: Every listener with a listen or a held-out target.
        train: Listens before the validation target. Shape: n arrays of (t_i,).
        history: All listens of the log. Shape: n arrays of (h_i,), h_i >= t_i.
        is_liked: Which listens of `history` have a positive signal. Shape: n arrays of (h_i,).
        valid: Validation target, -1 for none. Shape: (n,).
        test: Test target, -1 for none. Shape: (n,).
        liked_until: Time of the last listen in `liked`, UTC epoch ms; None without any.
    """

    item_ids: tuple[str, ...]
    user_ids: tuple[str, ...]
    train: list[Ints]
    history: list[Ints]
    is_liked: list[Bools]
    valid: Ints
    test: Ints
    liked_until: int | None = None

    @property
    def train_is_liked(self) -> list[Bools]:
        """Which listens of `train` have a positive signal. Shape: n arrays of (t_i,)."""
        return [liked[: len(rows)] for liked, rows in zip(self.is_liked, self.train, strict=True)]

    @property
    def liked(self) -> list[Ints]:
        """The listens of `train` that have a positive signal: what may be counted. Shape: n arrays of (<= t_i,)."""
        return [rows[liked] for rows, liked in zip(self.train, self.train_is_liked, strict=True)]


def training_sequences(folder: LogFolder) -> Sequences:
    """Read a folder's listens into sequences.

    A held-out listen with a signal that is not positive is no target: its listener is not asked for.

    Args:
        folder: Log folder.

    Returns:
        Sequences by listener, in order of first appearance.

    Raises:
        DataError: A listen has an item that the catalogue file never published, or a line is damaged.
    """
    item_ids = tuple(dict.fromkeys(event.item_id for event in folder.catalog() if event.item is not None))
    index = {item_id: row for row, item_id in enumerate(item_ids)}
    targets = {"valid": dict[str, str](), "test": dict[str, str]()}
    valid_events: dict[str, str] = {}
    for held in folder.heldout():
        if not is_positive(held.signal):
            continue
        targets[held.role][held.user_id] = held.item_id
        if held.role == "valid":
            valid_events[held.event_id] = held.user_id
    sequences: dict[str, list[int]] = {}
    signals: dict[str, list[str]] = {}
    cut: dict[str, int] = {}
    train_until = _train_until(folder)
    liked_until: int | None = None
    for line, listen in enumerate(folder.listens(), start=1):
        row = index.get(listen.item_id)
        if row is None:
            raise _unknown_item(folder, line, listen.item_id)
        sequence = sequences.setdefault(listen.user_id, [])
        if valid_events.get(listen.event_id) == listen.user_id or listen.at >= train_until:
            cut.setdefault(listen.user_id, len(sequence))
        if listen.user_id not in cut and is_positive(listen.signal):
            liked_until = listen.at
        sequence.append(row)
        signals.setdefault(listen.user_id, []).append(listen.signal)
    for user_id in targets["test"]:
        sequences.setdefault(user_id, [])
    history = [np.array(sequence, dtype=np.int32) for sequence in sequences.values()]
    return Sequences(
        item_ids=item_ids,
        user_ids=tuple(sequences),
        train=[rows[: cut.get(user_id, len(rows))] for user_id, rows in zip(sequences, history, strict=True)],
        history=history,
        is_liked=[positive_mask(signals.get(user_id, ())) for user_id in sequences],
        valid=_rows(targets["valid"], sequences, index),
        test=_rows(targets["test"], sequences, index),
        liked_until=liked_until,
    )


def _train_until(folder: LogFolder) -> int:
    """Return the time from which on nothing may be trained on: with a cut in time it holds for every listener.

    One whose validation target comes after the cut, or who has none, has listens behind the cut all the same.
    """
    manifest = folder.manifest
    never = LATEST_AT + 1
    return manifest.cuts.get("valid_from", never) if manifest.split.protocol == "global_time" else never


def _rows(targets: dict[str, str], sequences: dict[str, list[int]], index: dict[str, int]) -> Ints:
    return np.array([index.get(targets.get(user_id, ""), -1) for user_id in sequences], dtype=np.int32)


def _unknown_item(folder: LogFolder, line: int, item_id: str) -> DataError:
    msg = (
        f"{folder.path / 'events/listens.jsonl'}:{line}: expected an item of catalog.jsonl, got {item_id!r}; "
        "add the item to the catalogue or remove the line"
    )
    return DataError(msg)
