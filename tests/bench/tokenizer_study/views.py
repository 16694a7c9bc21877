"""What views of an item are worth on real words: title beside description, learned against equal weights, segments.

Office's descriptions are cut into sentences, which stand in for the stretches of a long item; each lasts as long as its
letters. Asked about are items whose listens the weights were not learned from: does content find the items that are
heard near them?
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from sidestream.tokenizer.content import WordLlamaEncoder, clean_text, item_text
from sidestream.tokenizer.quality.neighbours import nearest_items, overlap, unit_vectors
from sidestream.tokenizer.representation.cooccurrence import cooccurrence_vectors
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import ContentSegment, ItemContent, fit_fusion, read_views, view_dims
from tests.bench.tokenizer_study.sets import Sequences

WHOLE, SENTENCES = "description", "description, by sentence"
ALIKE, LEARNED = "title + description, alike", "title + description, learned"
# Views and their weights; without weights they are learned.
MIXES: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "title": (("text",), (1.0,)),
    WHOLE: ((WHOLE,), (1.0,)),
    SENTENCES: (("segments",), (1.0,)),
    ALIKE: (("text", WHOLE), (1.0, 1.0)),
    LEARNED: (("text", WHOLE), ()),
    "title + sentences, alike": (("text", "segments"), (1.0, 1.0)),
    "title + sentences, learned": (("text", "segments"), ()),
}
_NEIGHBOURS = 10
_HELD_SHARE = 0.2
_MAX_SENTENCES = 200


def office_views(folder: Path, sequences: Sequences, max_items: int | None, seed: int) -> dict[str, Any]:
    """Tell for each mix of views the recall of collaborative neighbours, and the weights."""
    encoder, settings = WordLlamaEncoder(), TokenizerSettings()
    items = [_item(name, item) for name, item in json.loads((folder / "item.json").read_text()).items()][:max_items]
    wholes = encoder.encode([" ".join(segment.text for segment in item.segments) for item in items])
    items = [
        ItemContent(item.item_id, item.text, {WHOLE: whole.tolist()} if whole.any() else {}, item.segments)
        for item, whole in zip(items, wholes, strict=True)
    ]
    rng = np.random.default_rng(seed)
    listened = cooccurrence_vectors(sequences, len(items), settings.collaborative_dim, rng)
    heard = np.flatnonzero(listened.any(axis=1))
    held = np.sort(rng.choice(heard, int(_HELD_SHARE * len(heard)), replace=False))
    kept = np.setdiff1d(heard, held)
    learned_from = listened.copy()
    learned_from[held] = 0.0
    true = nearest_items(held, unit_vectors(listened), kept, _NEIGHBOURS)
    found: dict[str, Any] = {"num_asked": len(held), "chance": round(_NEIGHBOURS / len(kept), 4)}
    for mix, (names, weights) in MIXES.items():
        dims = view_dims(names, items, encoder)
        blocks = read_views(items, dims, encoder)
        fusion = fit_fusion(names, blocks, weights, learned_from)
        near = nearest_items(held, unit_vectors(fusion.fuse(blocks)), kept, _NEIGHBOURS)
        found[mix] = {"recall": round(overlap(near, true), 4), "weights": fusion.weights.round(3).tolist()}
    return found


def _item(name: str, item: dict[str, str]) -> ItemContent:
    words = clean_text(str(item["description"]).strip("[]'\" "))
    sentences = [part for part in re.split(r"(?<=[.!?]) ", words) if part.strip()][:_MAX_SENTENCES]
    spans, end_ms = [], 0
    for sentence in sentences:
        spans.append(ContentSegment(end_ms, end_ms + len(sentence), sentence))
        end_ms += len(sentence)
    return ItemContent(name, item_text(str(item["title"]), creator=str(item["brand"] or "")), segments=tuple(spans))
