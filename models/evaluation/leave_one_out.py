"""Leave-one-out evaluation: the rank of each listener's held-out item in each ranker's list.

Decisions:
- Full ranking over the whole catalogue, never sampled negatives: those change which model wins.
- Two columns: `plain` (nothing removed) and `seen_excluded` (the items of the listener's input removed). The difference
  is .007 to .015 in recall, so a number without its column is meaningless.
- Rankers are called for one listener at a time, as in serving.

Source: leave-one-out as in Kang and McAuley 2018 (arXiv 1808.09781), section IV.B; against sampled metrics Krichene
and Rendle 2020 (KDD), section 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sidestream.models.baselines import Ranker
from sidestream.models.errors import DataError
from sidestream.models.evaluation.metrics import Estimate, summary, target_rank

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Column = Literal["plain", "seen_excluded"]
Progress = Callable[[str, int, int], None]

COLUMNS: tuple[Column, ...] = ("plain", "seen_excluded")
LIST_LENGTH = 30


@dataclass(frozen=True, slots=True)
class Cases:
    """Test cases, one per listener: which item follows this history?

    Args:
        histories: Item indices, oldest first, one array per listener.
        targets: The held-out items. Shape: (num_listeners,).
        is_liked: Which items of each history have a positive signal; None means all.

    Raises:
        DataError: They have different lengths.
    """

    histories: Sequence[Int32Array]
    targets: Int32Array
    is_liked: Sequence[BoolArray] | None = None

    def __post_init__(self) -> None:
        if len(self.histories) != len(self.targets):
            msg = (
                f"evaluation cases: {len(self.histories)} histories but {len(self.targets)} held-out items; "
                "give one held-out item for each history"
            )
            raise DataError(msg)
        if self.is_liked is not None and [*map(len, self.is_liked)] != [*map(len, self.histories)]:
            msg = "evaluation cases: expected one mark in is_liked for each listen of each history; give both alike"
            raise DataError(msg)

    @property
    def num_repeats(self) -> int:
        """Number of cases whose held-out item is in the history: unreachable if seen items are excluded."""
        pairs = zip(self.histories, self.targets.tolist(), strict=True)
        return sum(bool((history == target).any()) for history, target in pairs)

    def sample(self, num_cases: int, rng: np.random.Generator) -> "Cases":
        """Return a random sample of at most `num_cases` cases, in their order."""
        if num_cases >= len(self.targets):
            return self
        chosen = np.sort(rng.choice(len(self.targets), num_cases, replace=False))
        liked = None if self.is_liked is None else [self.is_liked[index] for index in chosen]
        return Cases([self.histories[index] for index in chosen], self.targets[chosen], liked)


@dataclass(frozen=True, slots=True)
class Scores:
    """Results of one ranker.

    Args:
        metrics: By column, then by metric name.
        num_listeners: Number of cases.
        num_repeats: Cases whose target is in the history: unreachable in the column `seen_excluded`.
    """

    metrics: Mapping[Column, Mapping[str, Estimate]]
    num_listeners: int
    num_repeats: int


def evaluate_ranker(ranker: Ranker, cases: Cases, progress: Callable[[int], None] | None = None) -> Scores:
    """Evaluate one ranker on all cases, in both columns.

    Args:
        ranker: The ranker to evaluate.
        cases: Histories and held-out items.
        progress: Called with the number of cases done.

    Returns:
        Metrics with standard errors.
    """
    ranks: dict[Column, Int32Array] = {column: ranks_of(ranker, cases, column, progress) for column in COLUMNS}
    return Scores({column: summary(found) for column, found in ranks.items()}, len(cases.targets), cases.num_repeats)


def evaluate_rankers(
    rankers: Mapping[str, Ranker], cases: Cases, progress: Progress | None = None
) -> dict[str, Scores]:
    """Evaluate several rankers on the same cases.

    Args:
        rankers: Rankers by name.
        cases: Histories and held-out items.
        progress: Called with the ranker's name, cases done and all cases (two per listener).

    Returns:
        The results of each ranker.
    """
    scores = {}
    for name, ranker in rankers.items():
        answered = _Counter(name, len(COLUMNS) * len(cases.targets), progress)
        scores[name] = evaluate_ranker(ranker, cases, answered)
    return scores


def ranks_of(ranker: Ranker, cases: Cases, column: Column, progress: Callable[[int], None] | None = None) -> Int32Array:
    """Find the rank of every held-out item.

    Args:
        ranker: The ranker to evaluate.
        cases: Histories and held-out items.
        column: Whether seen items are removed.
        progress: Called after every case with 1.

    Returns:
        Ranks from 0, `NOT_LISTED` if the item is not in the list.

        Shape: (num_listeners,).
    """
    ranks = np.empty(len(cases.targets), np.int32)
    liked: Sequence[BoolArray | None] = [None] * len(cases.targets) if cases.is_liked is None else cases.is_liked
    for index, (history, target) in enumerate(_pairs(cases)):
        listed = ranker.rank(history, LIST_LENGTH, column == "seen_excluded", liked[index])
        ranks[index] = target_rank(listed, target)
        if progress is not None:
            progress(1)
    return ranks


def _pairs(cases: Cases) -> list[tuple[Int32Array, int]]:
    return list(zip(cases.histories, cases.targets.tolist(), strict=True))


class _Counter:
    def __init__(self, name: str, total: int, progress: Progress | None) -> None:
        self._name = name
        self._total = total
        self._progress = progress
        self._done = 0

    def __call__(self, step: int) -> None:
        self._done += step
        if self._progress is not None:
            self._progress(self._name, self._done, self._total)
