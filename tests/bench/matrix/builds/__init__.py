"""Builds that are broken on purpose, each in one promise: the judge must see each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.bench.matrix.builds import counts, lane, sessions
from tests.bench.matrix.faults import ERASURE_POINTS, TRANSACTION_POINTS

Kind = Literal["kill", "pause", "refuse"]


@dataclass(frozen=True)
class BrokenBuild:
    """How it is made, and which faults bring it to light."""

    install: Callable[[], None]
    points: tuple[str, ...] = ()
    kind: Kind = "kill"


BROKEN: Mapping[str, BrokenBuild] = {
    "table_before_commit": BrokenBuild(lane.table_before_commit, ("begin", "send", "sent", "offsets", "commit")),
    "offsets_before_changelog": BrokenBuild(lane.offsets_before_changelog, TRANSACTION_POINTS),
    # Before the transaction is open: an open one holds the heir's restore up until the broker aborts it.
    "no_fence": BrokenBuild(lane.no_fence, ("fold", "folded", "begin", "send"), "pause"),
    "dirty_restore": BrokenBuild(lane.dirty_restore, ("sent", "offsets", "commit")),
    "restore_skips": BrokenBuild(lane.restore_skips, ("committed", "write")),
    "erasures_before_states": BrokenBuild(lane.erasures_before_states, ("erase_committed",)),
    "restore_keeps_erased": BrokenBuild(lane.restore_keeps_erased, ERASURE_POINTS),
    "counts_unfenced": BrokenBuild(counts.counts_unfenced, ("counts",), "pause"),
    "counts_not_caught_up": BrokenBuild(counts.counts_not_caught_up, ("fold", "written", "counts")),
    "counts_before_mark": BrokenBuild(counts.counts_before_mark, ("count_committed",)),
    "counts_ahead_twice": BrokenBuild(counts.counts_ahead_twice, ("fold", "written", "counts")),
    "session_committed_early": BrokenBuild(sessions.session_committed_early, ("answer",)),
    "answers_to_another": BrokenBuild(sessions.answers_to_another),
    "seek_late": BrokenBuild(lane.seek_late, ("fold", "written")),
    "retry_without_values": BrokenBuild(lane.retry_without_values, ("sent", "offsets"), "refuse"),
}
