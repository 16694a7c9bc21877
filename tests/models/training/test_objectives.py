"""Losses against their formulas in numpy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from sidestream.models.objectives import item_loss, level_loss  # noqa: E402


def test_level_loss_is_the_negative_log_likelihood_of_the_sid():
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(4, size)).astype(np.float32) for size in (3, 5)]
    codes = np.array([[0, 4], [2, 1], [1, 1], [2, 0]])
    expected = 0.0
    for level, scores in enumerate(logits):
        picked = scores[np.arange(4), codes[:, level]]
        expected += (np.log(np.exp(scores).sum(1)) - picked).mean()

    assert level_loss([torch.tensor(s) for s in logits], torch.tensor(codes)).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_item_loss_is_a_softmax_without_the_own_target_among_negatives():
    rng = np.random.default_rng(1)
    hidden, positive, negative = (rng.normal(size=(n, 6)).astype(np.float32) for n in (3, 3, 4))
    targets, drawn = np.array([7, 1, 9]), np.array([1, 2, 3, 9])
    losses = []
    for row in range(3):
        own = float(hidden[row] @ positive[row])
        others = [float(hidden[row] @ negative[m]) for m in range(4) if drawn[m] != targets[row]]
        losses.append(np.log(np.exp(own) + np.exp(others).sum()) - own)

    found = item_loss(*(torch.tensor(a) for a in (hidden, positive, targets, negative, drawn)))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_item_loss_without_any_other_item_is_zero_and_has_a_gradient():
    hidden = torch.ones(2, 3, requires_grad=True)
    item = torch.ones(1, 3)
    loss = item_loss(hidden, item.expand(2, 3), torch.tensor([4, 4]), item, torch.tensor([4]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(hidden.grad).all()
