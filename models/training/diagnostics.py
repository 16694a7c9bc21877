"""Diagnostic of the dense head: all items scored by `<h, v>` with the training weights, without the engine.

It is the upper bound of what the beam can find by the same item score, so the difference to the engine's result is the
loss or gain of the search, int8 vectors and the SID part.

Shape legend: B listeners, T positions, N items, D d_model, L levels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sidestream.models.evaluation import NOT_LISTED, Cases, Scores, summary
from sidestream.models.features import ItemHistory, features
from sidestream.models.network import GenModel

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

_BATCH = 128


def dense_ranks(
    model: GenModel, item_vectors: Tensor, codes: Int32Array, cases: Cases, exclude_seen: bool
) -> Int32Array:
    """Find the rank of every held-out item among all items, by the item score alone.

    Args:
        model: The network, in evaluation mode.
        item_vectors: Vectors u of all items. Shape: (N, D).
        codes: SIDs of all items. Shape: (N, L).
        cases: Histories and held-out items.
        exclude_seen: Whether to exclude the items of the history; a held-out item among them is never found.

    Returns:
        Ranks from 0, ties by index as in `top_items`; `NOT_LISTED` if the held-out item is excluded.

        Shape: (num_listeners,).
    """
    ranks = np.empty(len(cases.targets), np.int32)
    items = np.arange(len(codes))
    with torch.inference_mode():
        table = model.item_vectors(torch.from_numpy(codes.astype(np.int64)), item_vectors)
        for start in range(0, len(ranks), _BATCH):
            histories = cases.histories[start : start + _BATCH]
            hidden = _encode(model, item_vectors, codes, histories)
            scores = model.item_scores(hidden, table).numpy()
            targets = cases.targets[start : start + _BATCH]
            if exclude_seen:
                for row, history in enumerate(histories):
                    scores[row, history] = -np.inf
            reached = scores[np.arange(len(targets)), targets]
            is_earlier = items < targets[:, None]
            before = (scores > reached[:, None]) | ((scores == reached[:, None]) & is_earlier)
            ranks[start : start + _BATCH] = np.where(np.isfinite(reached), before.sum(axis=1), NOT_LISTED)
    return ranks


def _encode(model: GenModel, item_vectors: Tensor, codes: Int32Array, histories: Sequence[Int32Array]) -> Tensor:
    built = [features(ItemHistory(history, codes[history]), model.config.max_len) for history in histories]
    length = max(len(inputs.history_rows) for inputs in built)
    rows = np.full((len(built), length), -1, np.int64)
    sids = np.full((len(built), length, codes.shape[1]), -1, np.int64)
    for row, inputs in enumerate(built):
        rows[row, length - len(inputs.history_rows) :] = inputs.history_rows
        sids[row, length - len(inputs.history_rows) :] = inputs.history_codes
    valid = torch.from_numpy(rows >= 0)
    u = item_vectors[torch.from_numpy(rows.clip(min=0))] * valid.unsqueeze(-1)
    tokens = model.tokens(torch.from_numpy(sids), u, drop=False)
    return model.encode(tokens, valid, last_only=True)[:, 0]


def dense_scores(model: GenModel, item_vectors: Float32Array, codes: Int32Array, cases: Cases) -> Scores:
    """Evaluate the dense head like a ranker, in both columns.

    Args:
        model: The network, in evaluation mode.
        item_vectors: Learned u of all items. Shape: (N, D).
        codes: SIDs of all items. Shape: (N, L).
        cases: Histories and held-out items.

    Returns:
        Metrics with standard errors.
    """
    table = torch.from_numpy(item_vectors)
    plain = dense_ranks(model, table, codes, cases, exclude_seen=False)
    excluded = dense_ranks(model, table, codes, cases, exclude_seen=True)
    repeats = sum(
        bool((history == target).any()) for history, target in zip(cases.histories, cases.targets, strict=True)
    )
    return Scores({"plain": summary(plain), "seen_excluded": summary(excluded)}, len(cases.targets), repeats)
