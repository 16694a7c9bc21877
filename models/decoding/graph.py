"""The serving graph, without control flow: history encoder, guided constrained beam search, expansion to items.

Shape legend: T listens, L levels, N_l trie nodes of level l, P beams before a level, W beams after it, F fan (children
considered per beam), V leaves, G items considered per leaf, R rows of the item store, X excluded rows, C candidates, K
codes of a level, D d_model.

Rules, common to the reference and the engine:
- A beam is a node of the trie, so every result is in the catalogue by construction.
- Score of a node: `gamma * sum_l log p(c_l) + beta * (<h, w_node> + log_mass)`; of an item at the end:
  `gamma * sum_l log p(c_l) + beta * <h, v_item>`. `log p` is normalised over the whole codebook.
- Ties: the better parent first, then the lower child (TopK prefers the lower index).
- Too few children: the beam is dead. Its score is -inf and all its other outputs are undefined; its indices are clamped
  to 0, since Gather refuses rows that a small catalogue does not have. Being dead is a separate flag, never arithmetic
  on -inf (0 * -inf is NaN).
- No batch dimension: one listener per call (batching gains 1.0-1.4 times on a CPU and makes results depend on the
  batch).
- No padding: the engine removes it. One position of zeros represents an empty history.

Source: index as CSR transition table, arXiv 2602.22647, section 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidestream.models.decoding.operators import pick, row_of, take
from sidestream.models.decoding.signature import item_specs, level_specs
from sidestream.models.network import GenModel

_NEG_INF = float("-inf")


class Beams(NamedTuple):
    """The beam after a level. Shape: nodes, log_probs, alive (W, 1), prefix (W, D)."""

    nodes: Tensor
    log_probs: Tensor
    alive: Tensor
    prefix: Tensor


class LevelInputs(NamedTuple):
    """One trie level, in the order of `signature.level_specs`; `rows` name the nodes' vectors, None = by node."""

    offsets: Tensor
    codes: Tensor
    vectors: Tensor
    scales: Tensor
    log_mass: Tensor
    eligible: Tensor
    fan: Tensor
    rows: Tensor | None = None


class ItemInputs(NamedTuple):
    """Buckets and item store, in the order of `signature.item_specs`."""

    bucket_offsets: Tensor
    bucket_rows: Tensor
    fan: Tensor
    vectors: Tensor
    scales: Tensor
    eligible: Tensor
    excluded: Tensor


class Weights(NamedTuple):
    """Weights of the parts of a score. Shape: () both."""

    gamma: Tensor
    beta: Tensor


class RecommendGraph(nn.Module):
    """The exported module: inputs as in `signature.input_specs`, outputs as in `signature.output_names`."""

    def __init__(self, model: GenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Process one request.

        Args:
            *inputs: The tensors of `signature.input_specs`, in that order.

        Returns:
            The tensors of `signature.output_names`, in that order.
        """
        config = self.model.config
        num_items = len(item_specs(config.d_model))
        parts, rest = [], inputs[2:]
        for index in range(config.num_levels):
            size = len(level_specs(index, config.num_levels, config.d_model))
            parts.append(rest[:size])
            rest = rest[size:]
        items, (beam, leaf_beam, out, gamma, beta) = ItemInputs(*rest[:num_items]), rest[num_items:]
        weights = Weights(gamma, beta)
        offsets, codes, leaf_rows, log_mass, eligible, fan = parts.pop()
        levels = [LevelInputs(*part) for part in parts]
        levels.append(LevelInputs(offsets, codes, items.vectors, items.scales, log_mass, eligible, fan, leaf_rows))
        h = self.encode(inputs[0], inputs[1], items)
        beams: Beams | None = None
        trace: list[Tensor] = []
        for index, level in enumerate(levels):
            width = leaf_beam if index == config.num_levels - 1 else beam
            beams, step = self.extend(h, beams, level, index, width.shape[0], weights)
            trace.extend(step)
        if beams is None:
            msg = "a network without levels cannot be exported"
            raise ValueError(msg)
        return (*self.expand(h, beams, items, out.shape[0], weights), *trace)

    def encode(self, rows: Tensor, codes: Tensor, items: ItemInputs) -> Tensor:
        """Encode the history: item vectors from the store if the item is in it, else the sum of its codes.

        Shape: rows (T,), codes (T, L); result (1, D).
        """
        stored = rows.clamp(min=0)
        stored = take(items.vectors, stored).float() * take(items.scales, stored).unsqueeze(1)
        vectors = torch.where(rows.unsqueeze(1) >= 0, stored, self.model.item_vectors(codes))
        tokens = vectors * self.model.config.input_scale
        return self.model.encode(tokens.unsqueeze(0), last_only=True)[0]

    def extend(
        self, h: Tensor, beams: Beams | None, level: LevelInputs, index: int, width: int, weights: Weights
    ) -> tuple[Beams, tuple[Tensor, ...]]:
        """Extend every beam by one level and keep the best.

        Shape: h (1, D); beams of P in (None = the root), beams of W = `width` out, with the level's trace: nodes
        (W, 1), parents (W,), scores (W,), log_probs (W, 1).
        """
        logits = self.model.step_logits(h, None if beams is None else beams.prefix, index)
        log_p = functional.log_softmax(logits, dim=-1)  # (P, K)
        child, found = _children(level.offsets, beams, level.fan)  # (P, F)
        log_probs = pick(log_p, take(level.codes, child))
        log_probs = log_probs if beams is None else log_probs + beams.log_probs
        rows = child if level.rows is None else take(level.rows, child)
        guide = _dot(level.vectors, level.scales, rows, h) + take(level.log_mass, child)
        scores = weights.gamma * log_probs + weights.beta * guide
        scores = torch.where(found & take(level.eligible, child), scores, _NEG_INF)
        scores, chosen = scores.flatten().topk(width)
        place = chosen.unsqueeze(1)
        nodes, log_probs = take(child.flatten(), place), take(log_probs.flatten(), place)
        parents = row_of(chosen, level.fan.shape[0])
        trace = (nodes, parents, scores, log_probs)
        prefix = take(self.model.level_table(self.model.prefix_embedding, index), take(level.codes, nodes)[:, 0])
        prefix = prefix if beams is None else prefix + take(beams.prefix, parents)
        return Beams(nodes, log_probs, scores.unsqueeze(1) > _NEG_INF, prefix), trace

    def expand(self, h: Tensor, beams: Beams, items: ItemInputs, count: int, weights: Weights) -> tuple[Tensor, ...]:
        """Expand SIDs to the items of their buckets and keep the best `count`.

        Shape: h (1, D), beams of V; result rows, scores (C,), log_probs, leaves (C, 1).
        """
        place, found = _children(items.bucket_offsets, beams, items.fan)  # (V, G)
        rows = take(items.bucket_rows, place)
        excluded = (rows.unsqueeze(2) == items.excluded).any(dim=2)
        scores = weights.gamma * beams.log_probs + weights.beta * _dot(items.vectors, items.scales, rows, h)
        scores = torch.where(found & take(items.eligible, rows) & ~excluded, scores, _NEG_INF)
        scores, chosen = scores.flatten().topk(count)
        owner = row_of(chosen, items.fan.shape[0])
        return take(rows.flatten(), chosen), scores, take(beams.log_probs, owner), take(beams.nodes, owner)


def _children(offsets: Tensor, beams: Beams | None, fan: Tensor) -> tuple[Tensor, Tensor]:
    """Look up the children of every beam; missing ones are child 0 and False. Shape: (P, F) both."""
    if beams is None:
        first, end = offsets[:1].unsqueeze(1), offsets[1:].unsqueeze(1)
        child = first + fan
        found = child < end
    else:
        first, end = take(offsets, beams.nodes), take(offsets, beams.nodes + 1)
        child = first + fan
        found = (child < end) & beams.alive
    return torch.where(found, child, 0), found


def _dot(vectors: Tensor, scales: Tensor, rows: Tensor, h: Tensor) -> Tensor:
    """Score rows of an int8 table by `<h, vector>`. Shape: rows (P, F), h (1, D); result (P, F)."""
    # As (1, D) x (D, P * F): the product with a vector on the right is eight times slower in ONNX Runtime.
    product = functional.linear(h, take(vectors, rows.flatten()).float())
    scaled: Tensor = product.view(rows.shape) * take(scales, rows)
    return scaled
