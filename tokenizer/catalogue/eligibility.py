"""Rules as masks: which items may be shown, and which trie nodes still lead to one of them.

Shape legend: R = rows of the store, n_l = nodes of level l, L = levels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.encoding import Traits
from sidestream.tokenizer.catalogue.live_rows import SnapshotDelta
from sidestream.tokenizer.catalogue.rows import Rows
from sidestream.tokenizer.catalogue.trie.nodes import ranges
from sidestream.tokenizer.catalogue.trie.trie import Trie

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False, slots=True)
class Eligibility:
    """Rules compiled for one snapshot.

    Attributes:
        mask_id: Names snapshot and rules; empty for an arbitrary mask, which has no name.
        item: Items that may be shown. Shape: (R,).
        nodes: Nodes with such an item below. Shape: L x (n_l,).
        valid_until_at: UTC epoch ms from which on one of the items has expired.
    """

    mask_id: str
    item: BoolArray
    nodes: tuple[BoolArray, ...]
    valid_until_at: int


class Rule(NamedTuple):
    """What decides by facts alone whether an item may be shown.

    Attributes:
        market: Only items that may be played there; None means no rule.
        allow_explicit: Whether explicit items pass.
        languages: Only items in one of them, or in a variety of it (en-GB of en), or of unknown language; None means no
            rule.
        kinds: Only items of one of them; None means no rule.
        live_now: True lets only live streams pass, False none; None means no rule. Ended ones never pass.
    """

    market: str | None = None
    allow_explicit: bool = True
    languages: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    live_now: bool | None = None

    @property
    def name(self) -> str:
        """Return what the rule is called, the same for equal rules."""
        parts = [f"market={self.market}", f"explicit={int(self.allow_explicit)}"]
        parts += [] if self.languages is None else [f"languages={','.join(sorted(self.languages))}"]
        parts += [] if self.kinds is None else [f"kinds={','.join(sorted(self.kinds))}"]
        parts += [] if self.live_now is None else [f"live={int(self.live_now)}"]
        return "/".join(parts)

    def accepts(self, traits: Traits) -> bool:
        """Tell whether items with these traits pass."""
        if self.market is not None and traits.market and self.market not in traits.market:
            return False
        if self.languages is not None and traits.language is not None:
            language = traits.language.lower()
            if not {language, language.split("-")[0]} & {wanted.lower() for wanted in self.languages}:
                return False
        if self.kinds is not None and traits.kind not in self.kinds:
            return False
        if self.live_now is not None and self.live_now != (traits.kind == "live"):
            return False
        return self.allow_explicit or not traits.explicit

    def passes(self, rows: Rows, traits: tuple[Traits, ...], some: IntArray | slice) -> BoolArray:
        """Tell which of some rows pass; each different trait is judged once.

        Args:
            rows: The store.
            traits: The catalogue's list of traits.
            some: Rows to look at.

        Returns:
            One answer a row.
        """
        accepted = np.fromiter(map(self.accepts, traits), dtype=np.bool_, count=len(traits))
        passing: BoolArray = accepted[rows.traits[some]]
        return passing


def compile_rule(
    name: str,
    rule: Rule,
    rows: Rows,
    trie: Trie,
    alive: BoolArray,
    traits: tuple[Traits, ...],
    now_ms: int | None,
) -> Eligibility:
    """Turn a rule into masks.

    Args:
        name: Names snapshot and rule.
        rule: The rule.
        rows: The store.
        trie: The trie over the rows alive.
        alive: Rows to start from.
            Shape: (R,).
        traits: The catalogue's list of traits.
        now_ms: Items expired by then are out; None means no rule.

    Returns:
        The masks, and the time from which on they are too generous.
    """
    item = alive & rule.passes(rows, traits, slice(None))
    if now_ms is not None:
        item[rows.expiries.due(now_ms)] = False
    until_at = rows.expiries.next_at(item)
    return Eligibility(f"{name}/until={until_at}", item, live_nodes(trie, item), until_at)


def carried(
    before: Eligibility,
    name: str,
    rule: Rule,
    rows: Rows,
    trie: Trie,
    delta: SnapshotDelta,
    traits: tuple[Traits, ...],
) -> Eligibility:
    """Make the masks of a rule from those of the snapshot before: only rows and nodes that changed are looked at.

    Args:
        before: The rule compiled for the snapshot before.
        name: Names snapshot and rule.
        rule: The rule.
        rows: The store.
        trie: The trie of the new snapshot.
        delta: What has changed since; its trie was merged.
        traits: The catalogue's list of traits.

    Returns:
        The masks that `compile_rule` would return, valid no longer than what they are made from.
    """
    item = np.zeros(rows.keys.size, dtype=np.bool_)
    item[: before.item.size] = before.item
    item[delta.gone] = False
    item[delta.come] = rule.passes(rows, traits, delta.come)
    nodes = list(before.nodes)
    below = item
    for level in reversed(range(len(delta.splices or ()))):
        splice = (delta.splices or ())[level]
        places, firsts = ranges(trie.below(level), splice.fresh)
        children = below[trie.bucket_rows[places] if level == trie.num_levels - 1 else places]
        fresh = np.logical_or.reduceat(children, firsts) if firsts.size else np.zeros(0, dtype=np.bool_)
        below = nodes[level] = splice.applied(before.nodes[level], fresh)
    come = np.zeros(item.size, dtype=np.bool_)
    come[delta.come] = item[delta.come]
    until_at = min(before.valid_until_at, rows.expiries.next_at(come))
    return Eligibility(f"{name}/until={until_at}", item, tuple(nodes), until_at)


def narrowed(base: Eligibility, trie: Trie, item_mask: BoolArray) -> Eligibility:
    """Add any rule over rows to compiled ones.

    Args:
        base: Compiled rules.
        trie: The trie that they were compiled for.
        item_mask: Rows that may pass.
            Shape: (R,).

    Returns:
        The stricter masks, without a name.
    """
    item = base.item & item_mask
    return Eligibility("", item, live_nodes(trie, item), base.valid_until_at)


def without_rows(
    base: Eligibility, trie: Trie, rows: npt.NDArray[np.int32], leaves: npt.NDArray[np.int32]
) -> Eligibility:
    """Take single items out of compiled rules; only the nodes above them are looked at again.

    Args:
        base: Compiled rules.
        trie: The trie that they were compiled for.
        rows: Rows to take out, in any order.
            Shape: (n,).
        leaves: The bucket of each, -1 for none.
            Shape: (n,).

    Returns:
        The stricter masks, without a name: equal to those of `narrowed`, at a cost that grows with n.
    """
    item = base.item.copy()
    item[rows] = False
    nodes = list(base.nodes)
    touched = np.unique(leaves[leaves >= 0])
    for level in reversed(range(len(nodes))):
        touched = touched[nodes[level][touched]]
        if not touched.size:
            break
        is_last = level == len(nodes) - 1
        places, firsts = ranges(trie.below(level), touched)
        below = item[trie.bucket_rows[places]] if is_last else nodes[level + 1][places]
        dead = touched[~np.logical_or.reduceat(below, firsts)]
        if not dead.size:
            break
        nodes[level] = nodes[level].copy()
        nodes[level][dead] = False
        touched = np.unique(np.searchsorted(trie.level_offsets[level], dead, side="right") - 1)
    return Eligibility("", item, tuple(nodes), base.valid_until_at)


def live_nodes(trie: Trie, item: BoolArray) -> tuple[BoolArray, ...]:
    """Find the nodes that lead to at least one item of a mask.

    Args:
        trie: The trie.
        item: Mask over rows.
            Shape: (R,).

    Returns:
        One mask per level, first level first.
        Shape: L x (n_l,).
    """
    below = _any_of_ranges(item[trie.bucket_rows], trie.bucket_offsets)
    nodes = [below]
    for offsets in reversed(trie.level_offsets[1:]):
        below = _any_of_ranges(below, offsets)
        nodes.append(below)
    return tuple(reversed(nodes))


def _any_of_ranges(values: BoolArray, offsets: npt.NDArray[np.int32]) -> BoolArray:
    if offsets.size <= 1 or not values.size:
        return np.zeros(0, dtype=np.bool_)
    return np.logical_or.reduceat(values, offsets[:-1])
