"""Catalogue snapshot: one immutable state of the catalogue, as arrays that the graph takes without a copy.

A snapshot is pinned per request and swapped by reference; later writes never change it. Row numbers are stable from
snapshot to snapshot except where the store was compacted (`store_generation` then differs): keep keys or ids, not rows,
beyond one request.

Shape legend: R = rows of the store, n_l = nodes of level l, L = levels, d = dimensions of an item vector, m = items.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.aliases import AliasRows
from sidestream.tokenizer.catalogue.eligibility import (
    Eligibility,
    Rule,
    compile_rule,
    update_eligibility,
    with_item_mask,
)
from sidestream.tokenizer.catalogue.encoding import Traits
from sidestream.tokenizer.catalogue.facts import ItemFacts, StoredSid
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.live_rows import SnapshotDelta
from sidestream.tokenizer.catalogue.rows import Rows
from sidestream.tokenizer.catalogue.trie.trie import Trie, find_leaves
from sidestream.tokenizer.sid import Sid

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
UInt64Array = npt.NDArray[np.uint64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# Compiled rules and looked-up SIDs are cached per snapshot up to these numbers, then computed each time.
_MAX_KEPT_RULES = 64
# Rules whose masks are carried over to the next snapshot; each costs the writer a pass over the last level.
_MAX_CARRIED_RULES = 8
_MAX_KEPT_SIDS = 65_536


@dataclass(frozen=True, eq=False)
class CatalogueSnapshot:
    """One immutable state of the catalogue.

    Attributes:
        version: Identifies the snapshot within its worker.
        tokenizer_version: Version of the tokenizer that the SIDs belong to.
        codebook_sizes: Codes per level.
        rows: Columns of the store.
        text: Ids and facts of the rows, packed.
        trie: CSR arrays, buckets and node vectors over the live items.
        index: Item key to the item's newest row, removed items included.
        row_alive: Mask of the rows that are in a bucket. Shape: (R,).
        aliases: Rows of additional SIDs.
        traits: Traits by number, as `rows.traits` refers to them.
        popular_rows: At most 1,000 live rows, most popular first, ties by key. Shape: (<= 1000,).
        newest_rows: At most 1,000 live rows, newest first: by second of publication, then by first appearance in the
            catalogue; items without a publication time come last. Shape: (<= 1000,).
        store_generation: Number of compactions of the store.
        popularity: Decayed listens of each row; None where nothing was counted. Shape: (R,).
        source_offsets: Next offset of each partition of the source topic: all records below are applied. None without a
            source topic.
    """

    version: str
    tokenizer_version: str
    codebook_sizes: tuple[int, ...]
    rows: Rows
    text: npt.NDArray[np.uint8]
    trie: Trie
    index: KeyIndex
    row_alive: BoolArray
    aliases: AliasRows
    traits: tuple[Traits, ...]
    popular_rows: Int32Array
    newest_rows: Int32Array
    store_generation: int
    popularity: Float32Array | None = None
    source_offsets: tuple[int, ...] | None = None
    _rules: dict[Rule, Eligibility] = field(default_factory=dict, repr=False)
    _requested: set[Rule] = field(default_factory=set, repr=False)
    _sids: dict[int, StoredSid | None] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"CatalogueSnapshot(version={self.version!r}, num_items={self.num_items}, num_rows={self.num_rows})"

    @property
    def num_levels(self) -> int:
        """Return the number of levels of a SID."""
        return len(self.codebook_sizes)

    @cached_property
    def num_items(self) -> int:
        """Return the number of live items: those in a bucket."""
        return int(self.trie.bucket_rows.size - np.count_nonzero(self.row_alive[self.aliases.rows]))

    @property
    def num_rows(self) -> int:
        """Return R, the number of rows of the store: live, removed and outdated ones."""
        return int(self.rows.keys.size)

    @property
    def level_codes(self) -> tuple[Int32Array, ...]:
        """Return the code of each trie node. Shape: L x (n_l,)."""
        return self.trie.level_codes

    @property
    def level_offsets(self) -> tuple[Int32Array, ...]:
        """Return the children ranges of each level. Shape: L x (n_{l-1} + 1,)."""
        return self.trie.level_offsets

    @cached_property
    def node_vectors(self) -> tuple[Int8Array, ...]:
        """Return the int8 vectors of all nodes; copies the last level, so for checks only. Shape: L x (n_l, d)."""
        return (*self.trie.node_vectors, self.rows.vector_table[self.trie.leaf_rows])

    @cached_property
    def node_scales(self) -> tuple[Float32Array, ...]:
        """Return the scales of all node vectors; copies the last level, too. Shape: L x (n_l,)."""
        return (*self.trie.node_scales, self.rows.scale_table[self.trie.leaf_rows])

    @property
    def node_log_mass(self) -> tuple[Float32Array, ...]:
        """Return the log of the sum of weights below each node. Shape: L x (n_l,)."""
        return self.trie.node_log_mass

    @property
    def bucket_offsets(self) -> Int32Array:
        """Return the item ranges of the SIDs. Shape: (n_{L-1} + 1,)."""
        return self.trie.bucket_offsets

    @property
    def bucket_rows(self) -> Int32Array:
        """Return the rows of the items, bucket by bucket, best first. Shape: (m,)."""
        return self.trie.bucket_rows

    @property
    def item_vectors(self) -> Int8Array:
        """Return the int8 item vectors. Shape: (R, d)."""
        return self.rows.vectors

    @property
    def item_scales(self) -> Float32Array:
        """Return the scales of the item vectors. Shape: (R,)."""
        return self.rows.scales

    @property
    def item_weight(self) -> Float32Array:
        """Return the weights of the items. Shape: (R,)."""
        return self.rows.weights

    @property
    def item_key(self) -> UInt64Array:
        """Return the keys of the items. Shape: (R,)."""
        return self.rows.keys

    @property
    def creator_key(self) -> npt.NDArray[np.uint32]:
        """Return the 32-bit hashes of the creators, 0 for none. Shape: (R,)."""
        return self.rows.creator_keys

    @property
    def show_key(self) -> npt.NDArray[np.uint32]:
        """Return the 32-bit hashes of the shows, 0 for none. Shape: (R,)."""
        return self.rows.show_keys

    @property
    def published_s(self) -> npt.NDArray[np.uint32]:
        """Return the publication times, UTC epoch seconds rounded down, 0 where unknown. Shape: (R,)."""
        return self.rows.published_s

    @cached_property
    def next_expiry_at(self) -> int:
        """Return when the next live item expires, UTC epoch ms, the largest int64 for never."""
        return self.rows.expiries.next_at(self.row_alive)

    @cached_property
    def max_children(self) -> tuple[int, ...]:
        """Return, per level, the largest number of children of one parent."""
        return tuple(int(np.diff(offsets).max(initial=0)) for offsets in self.trie.level_offsets)

    @cached_property
    def max_bucket(self) -> int:
        """Return the largest number of items on one SID."""
        return int(np.diff(self.trie.bucket_offsets).max(initial=0))

    def row_of_key(self, keys: UInt64Array) -> Int32Array:
        """Find items by key, including removed and expired ones, which histories still refer to.

        Args:
            keys: Item keys.
                Shape: (n,).

        Returns:
            Newest row of each item, -1 if the catalogue never had it.
            Shape: (n,).
        """
        return self.index.find(keys)

    def codes_of_rows(self, rows: Int32Array) -> Int32Array:
        """Return the SIDs of rows. Shape: (n, L)."""
        return self.rows.codes[rows].astype(np.int32)

    def sid_of_row(self, row: int) -> Sid:
        """Return the SID of one row."""
        return tuple(self.rows.codes[row].tolist())

    def leaf_of_sid(self, codes: Int32Array) -> Int32Array:
        """Find SIDs in the trie.

        Args:
            codes: SIDs.
                Shape: (n, L).

        Returns:
            Node of the last level, which is also the bucket; -1 where no live item has that SID.
            Shape: (n,).
        """
        return find_leaves(self.trie, codes, self.codebook_sizes)

    def item_id(self, row: int) -> str:
        """Return the id of one row."""
        return self.rows.item_id(self.text, row)

    def item_ids(self, rows: Int32Array) -> list[str]:
        """Return the ids of rows."""
        return [self.rows.item_id(self.text, row) for row in rows.tolist()]

    def facts(self, row: int) -> ItemFacts:
        """Return the facts of one row."""
        return self.rows.facts(self.text, row)

    def stored_sid(self, key: int) -> StoredSid | None:
        """Look up the SID that a history entry stores for an item; the `lookup` of the fold.

        Args:
            key: Item key.

        Returns:
            The SID under this catalogue's tokenizer, None if the item is unknown.
        """
        try:
            return self._sids[key]
        except KeyError:
            row = self.index.find_one(key)
            found = None if row < 0 else StoredSid(self.tokenizer_version, self.sid_of_row(row))
            if len(self._sids) < _MAX_KEPT_SIDS:
                self._sids[key] = found
            return found

    def eligibility(
        self,
        *,
        market: str | None = None,
        allow_explicit: bool = True,
        languages: frozenset[str] | None = None,
        kinds: frozenset[str] | None = None,
        live_now: bool | None = None,
        now_ms: int | None = None,
        item_mask: BoolArray | None = None,
    ) -> Eligibility:
        """Compile rules into masks over items and trie nodes; cached per snapshot unless `item_mask` is given.

        Args:
            market: Only items that may be played there; None means no rule.
            allow_explicit: Whether explicit items pass.
            languages: Only items in one of these languages, or of unknown language; None means no rule.
            kinds: Only items of these kinds; None means no rule.
            live_now: True accepts only live streams that have not ended, False none; None means no rule.
            now_ms: UTC epoch ms; items expired by then are not eligible. None uses the time of the snapshot.
            item_mask: An additional arbitrary mask over rows.
                Shape: (R,).

        Returns:
            The masks. A row that is in no bucket never passes.
        """
        rule = Rule(market, allow_explicit, languages, kinds, live_now)
        self._requested.add(rule)
        kept = self._rules.get(rule)
        if kept is None or (now_ms is not None and now_ms >= kept.valid_until_at):
            # Time only removes items, so masks compiled for a later time never admit too much for an earlier one.
            kept = compile_rule(self._name_of(rule), rule, self.rows, self.trie, self.row_alive, self.traits, now_ms)
            if len(self._rules) < _MAX_KEPT_RULES or rule in self._rules:
                self._rules[rule] = kept
        return kept if item_mask is None else with_item_mask(kept, self.trie, self.aliases.extend_mask(item_mask))

    def carry_rules(self, before: "CatalogueSnapshot", delta: SnapshotDelta) -> None:
        """Carry over masks from the previous snapshot, recently requested rules first, so that no request waits.

        Args:
            before: The previous snapshot, with the same store generation.
            delta: Changes since then; the trie must have been merged.
        """
        kept = dict(before._rules)
        requested = set(before._requested)
        for rule in sorted(kept, key=lambda known: known not in requested)[:_MAX_CARRIED_RULES]:
            self._rules[rule] = update_eligibility(
                kept[rule], self._name_of(rule), rule, self.rows, self.trie, delta, self.traits
            )

    def _name_of(self, rule: Rule) -> str:
        return f"{self.version}/{rule.name}"
