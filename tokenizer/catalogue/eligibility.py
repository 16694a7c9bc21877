"""Eligibility: rules compiled to masks over items and over the trie nodes that lead to an eligible item.

Shape legend: R = rows of the store, n_l = nodes of level l, L = levels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.encoding import Traits
from sidestream.tokenizer.catalogue.live_rows import SnapshotDelta
from sidestream.tokenizer.catalogue.rows import Rows
from sidestream.tokenizer.catalogue.trie.csr import ranges
from sidestream.tokenizer.catalogue.trie.trie import Trie

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False, slots=True)
class Eligibility:
    """Rules compiled for one snapshot.

    Attributes:
        mask_id: Identifies snapshot and rules; empty for an arbitrary mask.
        item: Eligible items. Shape: (R,).
        nodes: Nodes with an eligible item below. Shape: L x (n_l,).
        valid_until_at: UTC epoch ms at which the first of the items expires.
    """

    mask_id: str
    item: BoolArray
    nodes: tuple[BoolArray, ...]
    valid_until_at: int


class Rule(NamedTuple):
    """Conditions on an item's facts.

    Attributes:
        market: Only items that may be played there; None means no rule.
        allow_explicit: Whether explicit items pass.
        languages: Only items in one of these languages, in a variety of one (en-GB of en), or of unknown language;
            None means no rule.
        kinds: Only items of these kinds; None means no rule.
        live_now: True accepts only live streams, False none; None means no rule. Streams that have ended never pass.
    """

    market: str | None = None
    allow_explicit: bool = True
    languages: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    live_now: bool | None = None

    @property
    def name(self) -> str:
        """Return the rule's name, the same for equal rules."""
        parts = [f"market={self.market}", f"explicit={int(self.allow_explicit)}"]
        parts += [] if self.languages is None else [f"languages={','.join(sorted(self.languages))}"]
        parts += [] if self.kinds is None else [f"kinds={','.join(sorted(self.kinds))}"]
        parts += [] if self.live_now is None else [f"live={int(self.live_now)}"]
        return "/".join(parts)

    def accepts(self, traits: Traits) -> bool:
        """Return whether items with these traits pass."""
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
        """Return which of `some` rows pass; each distinct set of traits is judged once."""
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
    """Compile a rule to masks.

    Args:
        name: Identifies snapshot and rule.
        rule: The rule.
        rows: The store.
        trie: The trie over the live rows.
        alive: Live rows.
            Shape: (R,).
        traits: The catalogue's list of traits.
        now_ms: UTC epoch ms; items expired by then are not eligible. None ignores expiry.

    Returns:
        The masks, and until when they are exact.
    """
    item = alive & rule.passes(rows, traits, slice(None))
    if now_ms is not None:
        item[rows.expiries.due(now_ms)] = False
    until_at = rows.expiries.next_at(item)
    return Eligibility(f"{name}/until={until_at}", item, live_nodes(trie, item), until_at)


def update_eligibility(
    before: Eligibility,
    name: str,
    rule: Rule,
    rows: Rows,
    trie: Trie,
    delta: SnapshotDelta,
    traits: tuple[Traits, ...],
) -> Eligibility:
    """Update the masks of a rule from the previous snapshot's: only rows and nodes that changed are evaluated.

    Args:
        before: The rule compiled for the previous snapshot.
        name: Identifies snapshot and rule.
        rule: The rule.
        rows: The store.
        trie: The trie of the new snapshot.
        delta: Changes since the previous snapshot, whose trie must have been merged, not rebuilt.
        traits: The catalogue's list of traits.

    Returns:
        The masks that `compile_rule` would return, valid no longer than `before`.
    """
    item = np.zeros(rows.keys.size, dtype=np.bool_)
    item[: before.item.size] = before.item
    item[delta.removed] = False
    item[delta.added] = rule.passes(rows, traits, delta.added)
    nodes = list(before.nodes)
    below = item
    for level in reversed(range(len(delta.splices or ()))):
        splice = (delta.splices or ())[level]
        places, firsts = ranges(trie.below(level), splice.fresh)
        children = below[trie.bucket_rows[places] if level == trie.num_levels - 1 else places]
        fresh = np.logical_or.reduceat(children, firsts) if firsts.size else np.zeros(0, dtype=np.bool_)
        below = nodes[level] = splice.apply(before.nodes[level], fresh)
    added = np.zeros(item.size, dtype=np.bool_)
    added[delta.added] = item[delta.added]
    until_at = min(before.valid_until_at, rows.expiries.next_at(added))
    return Eligibility(f"{name}/until={until_at}", item, tuple(nodes), until_at)


def with_item_mask(base: Eligibility, trie: Trie, item_mask: BoolArray) -> Eligibility:
    """Restrict compiled rules by an arbitrary mask over rows.

    Args:
        base: Compiled rules.
        trie: The trie that they were compiled for.
        item_mask: Rows that may pass.
            Shape: (R,).

    Returns:
        The stricter masks, without an id.
    """
    item = base.item & item_mask
    return Eligibility("", item, live_nodes(trie, item), base.valid_until_at)


def without_rows(
    base: Eligibility, trie: Trie, rows: npt.NDArray[np.int32], leaves: npt.NDArray[np.int32]
) -> Eligibility:
    """Exclude single items from compiled rules; only the nodes above them are re-evaluated.

    Args:
        base: Compiled rules.
        trie: The trie that they were compiled for.
        rows: Rows to exclude, in any order.
            Shape: (n,).
        leaves: The bucket of each row, -1 for none.
            Shape: (n,).

    Returns:
        The stricter masks, without an id: equal to those of `with_item_mask`, at a cost that grows with n.
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
    """Find the nodes with at least one item of a mask below.

    Args:
        trie: The trie.
        item: Mask over rows.
            Shape: (R,).

    Returns:
        One mask per level.
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
