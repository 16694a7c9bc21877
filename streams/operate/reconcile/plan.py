"""The changes that follow from a dump: pure.

An item is changed if any field other than `at` differs from the topic. The dump's time is that of its newest item, or
given by the caller; later updates of the topic take precedence. So an absent item that is newer than the dump stays,
and so does a stored item that is newer than its line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidestream.streams.errors import DataError
from sidestream.streams.operate.reconcile.dump import Dump, Stored


@dataclass(frozen=True, slots=True)
class ReconcilePlan:
    """The changes to make.

    Attributes:
        upserts: Ids of new and changed items to publish.
        removals: Ids of items to remove, sorted.
        counts: Number of items of each kind, for display.
    """

    upserts: frozenset[str]
    removals: tuple[str, ...]
    counts: dict[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether the catalogue already matches the dump."""
        return not self.upserts and not self.removals


def make_plan(dump: Dump, stored: Mapping[str, Stored], taken_at: int | None = None) -> ReconcilePlan:
    """Compare a dump with the topic.

    Args:
        dump: The checked dump.
        stored: Last value of each item in the topic.
        taken_at: Time of the dump, UTC epoch ms; None takes that of its newest item.

    Returns:
        The plan.
    """
    as_of = dump.newest_at if taken_at is None else taken_at
    new = frozenset(dump.items.keys() - stored.keys())
    differing = {i: item for i, item in dump.items.items() if i in stored and stored[i].digest != item.digest}
    changed = frozenset(i for i, item in differing.items() if stored[i].digest is None or stored[i].at <= item.at)
    absent = stored.keys() - dump.items.keys()
    removals = tuple(sorted(i for i in absent if stored[i].digest is None or stored[i].at <= as_of))
    counts = {
        "in_dump": len(dump.items),
        "in_topic": len(stored),
        "unchanged": len(dump.items) - len(new) - len(differing),
        "new": len(new),
        "changed": len(changed),
        "newer_in_topic": len(differing) - len(changed) + len(absent) - len(removals),
        "removed": len(removals),
    }
    return ReconcilePlan(new | changed, removals, counts)


def refuse_large(plan: ReconcilePlan, max_removed_percent: float) -> None:
    """Refuse a plan that removes too many items, because the dump may be incomplete.

    Args:
        plan: The plan.
        max_removed_percent: Largest share of the items in the topic that may be removed.

    Raises:
        DataError: The plan would remove more.
    """
    share = 100 * len(plan.removals) / max(1, plan.counts["in_topic"])
    if share > max_removed_percent:
        msg = (
            f"the dump would remove {len(plan.removals):,} of {plan.counts['in_topic']:,} items, {share:.1f} %, more "
            f"than {max_removed_percent:g} % (--max-removed), so nothing was changed; if the dump is complete, add "
            "--force"
        )
        raise DataError(msg)
