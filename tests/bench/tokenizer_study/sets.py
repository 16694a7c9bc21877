"""The real catalogues that tokenizers are compared on: what their items are, and who was heard after whom.

Lastfm's events are acts of tagging, Beauty's words are names of attributes, and both Beauty and Office are products:
they serve the mechanics of tokenizers, not claims on audio. Of Office only the windows of its validation part may be
learned from.
"""

import ast
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.data.importers import import_lastfm, import_s3rec
from sidestream.models.data.settings import ImportSettings
from sidestream.models.data.texts import text_of
from sidestream.models.evaluation.catalogue import last_items
from sidestream.models.training.tokenizer import next_listens
from sidestream.tokenizer.content import WordLlamaEncoder, item_text
from sidestream.tokenizer.representation.vector import Representation

Vectors = npt.NDArray[np.float32]
Sequences = list[npt.NDArray[np.int64]]
Pairs = npt.NDArray[np.int64]
_HELD_LISTENERS = 0.2


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One data set as tokenizers take it.

    Attributes:
        content: What the encoder makes of the words. Shape: (N, C).
        vectors: What the product would quantize, without what listeners say. Shape: (N, D).
        sequences: Items of each listener, oldest first; the training part.
        pairs: Items heard one after the other by four fifths of the listeners. Shape: (num_pairs, 2).
        held_pairs: The same by the others, without pairs that the first have too. Shape: (num_held, 2).
    """

    content: Vectors
    vectors: Vectors
    sequences: Sequences
    pairs: Pairs
    held_pairs: Pairs


def lastfm(root: Path, scratch: Path) -> tuple[list[str], Sequences]:
    """Artists with their tags."""
    import_lastfm(root / "lastfm-hetrec2011", scratch / "lastfm", ImportSettings())
    return _of_log(scratch / "lastfm")


def beauty(root: Path, scratch: Path) -> tuple[list[str], Sequences]:
    """Products with the names of their attributes."""
    import_s3rec(root / "s3rec" / "Beauty.txt", scratch / "beauty", ImportSettings())
    return _of_log(scratch / "beauty")


def office(root: Path, scratch: Path) -> tuple[list[str], Sequences]:
    """Products with title, brand and description."""
    del scratch
    folder = root / "amazon18-office"
    items = json.loads((folder / "item.json").read_text())
    texts = [
        item_text(
            str(item["title"]), creator=str(item.get("brand") or ""), description=str(item.get("description") or "")
        )
        for item in items.values()
    ]
    row_of = {name: row for row, name in enumerate(items)}
    longest: dict[str, list[str]] = {}
    with (folder / "valid.csv").open(newline="") as file:
        for window in csv.DictReader(file):
            heard = [*map(str, ast.literal_eval(window["history_item_id"])), window["item_id"]]
            if len(heard) >= len(longest.get(window["user_id"], ())):
                longest[window["user_id"]] = heard
    return texts, [np.array([row_of[name] for name in heard]) for heard in longest.values()]


SETS: dict[str, tuple[str, Callable[[Path, Path], tuple[list[str], Sequences]]]] = {
    "lastfm": ("lastfm-hetrec2011", lastfm),
    "beauty": ("s3rec", beauty),
    "office": ("amazon18-office", office),
}


def read_set(name: str, root: Path, scratch: Path, max_items: int | None, seed: int) -> Catalogue:
    """Read a data set, or the first items of it, and part its listeners."""
    texts, sequences = SETS[name][1](root, scratch)
    texts = texts[:max_items]
    sequences = [rows[rows < len(texts)].astype(np.int64) for rows in sequences]
    content, keys = WordLlamaEncoder().encode(texts), np.arange(len(texts), dtype=np.uint64)
    order = np.random.default_rng(seed).permutation(len(sequences))
    cut = int(_HELD_LISTENERS * len(order))
    held, pairs = (next_listens([sequences[at] for at in part]) for part in (order[:cut], order[cut:]))
    return Catalogue(
        content=content,
        vectors=Representation.fit(keys, content, None).represent(keys, content),
        sequences=sequences,
        pairs=pairs,
        held_pairs=held[~np.isin(_unordered(held, len(texts)), _unordered(pairs, len(texts)))],
    )


def together(codes: npt.NDArray[np.int32], pairs: Pairs) -> tuple[list[float], list[float]]:
    """Tell which share of pairs begins with the same 1, 2, ... codes, and how many would if drawn apart."""
    shares, chances = [], []
    for length in range(1, codes.shape[1] + 1):
        groups = np.unique(codes[:, :length], axis=0, return_inverse=True)[1].reshape(-1)
        left, right = (np.bincount(groups[side], minlength=len(codes)) / len(pairs) for side in pairs.T)
        shares.append(round(float((groups[pairs[:, 0]] == groups[pairs[:, 1]]).mean()), 4))
        chances.append(round(float(left @ right), 4))
    return shares, chances


def _unordered(pairs: Pairs, num_items: int) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = pairs.min(axis=1) * num_items + pairs.max(axis=1)
    return keys


def _of_log(folder: Path) -> tuple[list[str], Sequences]:
    log = LogFolder(folder)
    sequences = training_sequences(log)
    texts = [text_of(item) for item in last_items(log, sequences.item_ids)]
    return texts, list[npt.NDArray[np.int64]](_widened(sequences.liked))


def _widened(sequences: Sequence[npt.NDArray[np.int32]]) -> Sequences:
    return [rows.astype(np.int64) for rows in sequences]
