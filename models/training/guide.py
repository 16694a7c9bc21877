"""Choice of the guide weights: the weights of SID likelihood and item score in the beam.

The weights are inputs of the graph, so they are tried with the real engine on validation items, then stored in the
artifact's configuration. Test items are not used.

Source: the guide of the beam, `gamma * sum log p + beta * (<h, w> + log mass)`, described in models/decoding/graph.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidestream.models.baselines import Ranker
from sidestream.models.evaluation import COLUMNS, Cases, ndcg_at, ranks_of


@dataclass(frozen=True, slots=True)
class GuideTrial:
    """One pair of weights and its result.

    Args:
        gamma: Weight of the SID's log-likelihood.
        beta: Weight of the item score.
        ndcg_at_10: NDCG@10 on validation items, mean of both columns (seen items included and excluded).
    """

    gamma: float
    beta: float
    ndcg_at_10: float


def choose_guide(
    pairs: Sequence[tuple[float, float]],
    ranker_of: Callable[[float, float], Ranker],
    cases: Cases,
    progress: Callable[[int], None],
) -> list[GuideTrial]:
    """Try pairs of guide weights on validation items.

    Args:
        pairs: (gamma, beta), the preferred ones first.
        ranker_of: Returns the generator with these weights.
        cases: Validation histories and items.
        progress: Called after every case with 1.

    Returns:
        All trials, best first; ties in the given order, so that without cases the first pair is first.
    """
    trials = []
    for gamma, beta in pairs:
        ranker = ranker_of(gamma, beta)
        reached = [ndcg_at(ranks_of(ranker, cases, column, progress), 10).value for column in COLUMNS]
        trials.append(GuideTrial(gamma, beta, sum(reached) / len(reached)))
    return sorted(trials, key=lambda trial: -trial.ndcg_at_10)
