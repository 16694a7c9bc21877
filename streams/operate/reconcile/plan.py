"""What a dump changes: pure.

Changed is what says anything else than the topic does, `at` aside. A dump is as old as its newest item says, or as it
is told: what the topic learned later is no business of the dump. So an item that is absent there but newer than the
dump stays, and so does a stored item that is newer than its line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidestream.streams.errors import DataError
from sidestream.streams.operate.reconcile.dump import Dump, Stored


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        upserts: Items to publish: new and changed ones.
        removals: Items to remove, in order of their ids.
        counts: How many items there are of each kind, for people.
    """

    upserts: frozenset[str]
    removals: tuple[str, ...]
    counts: dict[str, int]

    @property
    def is_empty(self) -> bool:
        """Tell whether the catalogue is what the dump says."""
        return not self.upserts and not self.removals


def make_plan(dump: Dump, stored: Mapping[str, Stored], taken_at: int | None = None) -> Plan:
    """Compare a dump with the topic.

    Args:
        dump: The checked dump.
        stored: Items as the topic has them last.
        taken_at: When the dump was taken, UTC epoch ms; None: when its newest item was written.

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
    return Plan(new | changed, removals, counts)


def refuse_large(plan: Plan, max_removed_percent: float) -> None:
    """Refuse a dump that takes too much away: it may be of half the catalogue.

    Args:
        plan: The plan.
        max_removed_percent: Of the items in the topic.

    Raises:
        DataError: It would remove more.
    """
    share = 100 * len(plan.removals) / max(1, plan.counts["in_topic"])
    if share > max_removed_percent:
        msg = (
            f"the dump would remove {len(plan.removals):,} of {plan.counts['in_topic']:,} items, {share:.1f} %, more "
            f"than {max_removed_percent:g} % (--max-removed), so nothing was changed; if it is whole, add --force"
        )
        raise DataError(msg)
