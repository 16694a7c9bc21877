"""Naive reference search for the engine: plain loops over prefixes in double precision, numpy only.

It shares no code with the graph: every beam evaluates the whole head from its prefix, the trie is a dictionary of
prefixes, and masks are set membership. `exhaustive` needs no trie: it scores each item separately, and must agree with
the beam wherever no beam was cut off.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sidestream.models.features import Features
from sidestream.models.network_config import NetworkConfig
from sidestream.tokenizer.catalogue import CatalogueSnapshot, Eligibility

Float64Array = npt.NDArray[np.float64]
_NORM_EPS = 1e-6

Prefix = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Widths, weights and masks of one search."""

    beam_size: int
    leaf_beam_size: int
    num_candidates: int
    gamma: float
    beta: float
    excluded: frozenset[int]
    eligibility: Eligibility

    def with_candidates(self, num_candidates: int) -> "Search":
        """Return the same search for another number of items."""
        return replace(self, num_candidates=num_candidates)


@dataclass(frozen=True, slots=True)
class Found:
    """One item of the answer."""

    row: int
    sid: Prefix
    score: float
    log_prob: float


class ReferenceModel:
    """The network of `GenModel`, written again in numpy.

    Args:
        config: Shape of the arrays.
        weights: `GenModel.state_dict()` as arrays.
    """

    def __init__(self, config: NetworkConfig, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self.config = config
        self._weights = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}

    def hidden(self, history: Features, catalogue: CatalogueSnapshot) -> Float64Array:
        """Read a history to the hidden state behind its last listen.

        Args:
            history: Rows and SIDs; entries with neither are padding.
            catalogue: Its item store is read.

        Returns:
            The normed hidden state. Shape: (D,).
        """
        tokens = []
        for row, codes in zip(history.history_rows.tolist(), history.history_codes.tolist(), strict=True):
            if row >= 0:
                tokens.append(catalogue.item_vectors[row].astype(np.float64) * float(catalogue.item_scales[row]))
            elif codes[0] >= 0:
                tokens.append(self.code_vector(tuple(codes)))
        tokens = tokens[-self.config.max_len :] or [np.zeros(self.config.d_model)]
        positions = self._weights["position_embedding"][-len(tokens) :]
        x = np.stack(tokens) * self.config.input_scale + positions
        for layer in range(self.config.num_layers):
            x = self._block(x, f"blocks.{layer}.")
        return self._norm(x[-1], "norm_hidden")

    def code_vector(self, sid: Prefix) -> Float64Array:
        """Sum the code embeddings of a SID: the vector of an item without listens. Shape: (D,)."""
        vectors = [self._row("code_embedding", level, code) for level, code in enumerate(sid)]
        return np.asarray(np.sum(vectors, axis=0))

    def log_probs(self, h: Float64Array, prefix: Prefix) -> Float64Array:
        """Give the log-probability of every code after a prefix. Shape: h (D,), result (K_level,)."""
        level = len(prefix)
        z = h + self._weights["level_embedding"][level]
        for before, code in enumerate(prefix):
            z = z + self._row("prefix_embedding", before, code)
        z = self._norm(z + self._ffn(self._norm(z, "norm_head"), "head_ffn."), "norm_output")
        first, last = self.config.code_offsets[level : level + 2]
        logits = self._weights["output_embedding"][first:last] @ z
        shifted = logits - logits.max()
        result: Float64Array = shifted - np.log(np.exp(shifted).sum())
        return result

    def beam(self, h: Float64Array, catalogue: CatalogueSnapshot, search: Search) -> tuple[list[Found], float]:
        """Search with a beam of equal width.

        Args:
            h: From `hidden`. Shape: (D,).
            catalogue: Snapshot.
            search: Widths, weights, masks.

        Returns:
            At most `num_candidates` items, best first, and the smallest gap in score between a beam that was kept and
            one that was not: where it is below rounding, single precision may rightly keep the other one.
        """
        tries = list_prefixes(catalogue)
        margin = math.inf
        beams: list[tuple[Prefix, float]] = [((), 0.0)]
        for level, nodes in enumerate(tries):
            extended: list[tuple[float, Prefix, float]] = []
            for prefix, log_prob in beams:
                log_p = self.log_probs(h, prefix)
                for child, node in nodes.items():
                    if child[:-1] != prefix or not search.eligibility.nodes[level][node]:
                        continue
                    total = log_prob + float(log_p[child[-1]])
                    guide = _dot(h, catalogue.node_vectors[level], catalogue.node_scales[level], node)
                    guide += float(catalogue.node_log_mass[level][node])
                    extended.append((search.gamma * total + search.beta * guide, child, total))
            width = search.leaf_beam_size if level == len(tries) - 1 else search.beam_size
            extended.sort(key=lambda entry: -entry[0])  # stable: better parent, then lower child
            if len(extended) > width:
                margin = min(margin, extended[width - 1][0] - extended[width][0])
            beams = [(prefix, log_prob) for _, prefix, log_prob in extended[:width]]
        return self._items(h, catalogue, search, beams, tries[-1]), margin

    def exhaustive(self, h: Float64Array, catalogue: CatalogueSnapshot, search: Search) -> list[Found]:
        """Score every item of the catalogue separately.

        Args:
            h: From `hidden`. Shape: (D,).
            catalogue: Snapshot.
            search: Weights and masks; the widths are not read.

        Returns:
            At most `num_candidates` items, best first.
        """
        sids = list_prefixes(catalogue)[-1]
        scored = [
            (sid, sum(float(self.log_probs(h, sid[:level])[code]) for level, code in enumerate(sid))) for sid in sids
        ]
        return self._items(h, catalogue, search, scored, sids)

    def _items(
        self,
        h: Float64Array,
        catalogue: CatalogueSnapshot,
        search: Search,
        beams: Sequence[tuple[Prefix, float]],
        sids: Mapping[Prefix, int],
    ) -> list[Found]:
        found = []
        for sid, log_prob in beams:
            first, end = catalogue.bucket_offsets[sids[sid] :][:2]
            for row in catalogue.bucket_rows[first:end].tolist():
                if search.eligibility.item[row] and row not in search.excluded:
                    score = search.gamma * log_prob
                    score += search.beta * _dot(h, catalogue.item_vectors, catalogue.item_scales, row)
                    found.append(Found(row, sid, score, log_prob))
        found.sort(key=lambda item: -item.score)
        return found[: search.num_candidates]

    def _row(self, table: str, level: int, code: int) -> Float64Array:
        return np.asarray(self._weights[table][self.config.code_offsets[level] + code])

    def _block(self, x: Float64Array, name: str) -> Float64Array:
        normed = self._norm(x, name + "norm_attention")
        query = normed @ self._weights[name + "query.weight"].T
        key, value = np.split(normed @ self._weights[name + "key_value.weight"].T, 2, axis=1)
        attended = np.zeros_like(x)
        for head in range(self.config.num_heads):
            part = slice(head * self.config.head_dim, (head + 1) * self.config.head_dim)
            for at in range(len(x)):
                logits = key[: at + 1, part] @ query[at, part] / np.sqrt(self.config.head_dim)
                share = np.exp(logits - logits.max())
                attended[at, part] = share / share.sum() @ value[: at + 1, part]
        x = x + attended @ self._weights[name + "out.weight"].T
        result: Float64Array = x + self._ffn(self._norm(x, name + "norm_ffn"), name + "ffn.")
        return result

    def _ffn(self, x: Float64Array, name: str) -> Float64Array:
        hidden = np.maximum(x @ self._weights[name + "up.weight"].T, 0.0)
        result: Float64Array = hidden @ self._weights[name + "down.weight"].T
        return result

    def _norm(self, x: Float64Array, name: str) -> Float64Array:
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + _NORM_EPS)
        result: Float64Array = x / scale * self._weights[name + ".weight"]
        return result


def list_prefixes(catalogue: CatalogueSnapshot) -> list[dict[Prefix, int]]:
    """Walk the trie from its root.

    Args:
        catalogue: Snapshot.

    Returns:
        For each level: every prefix of the catalogue, in order, with the number of its node.
    """
    above: dict[Prefix, int] = {(): 0}
    levels = []
    for codes, offsets in zip(catalogue.level_codes, catalogue.level_offsets, strict=True):
        above = {
            (*prefix, int(codes[child])): child
            for prefix, node in above.items()
            for child in range(int(offsets[node]), int(offsets[node + 1]))
        }
        levels.append(above)
    return levels


def _dot(h: Float64Array, vectors: npt.NDArray[np.int8], scales: npt.NDArray[np.float32], row: int) -> float:
    return float(h @ vectors[row].astype(np.float64)) * float(scales[row])
