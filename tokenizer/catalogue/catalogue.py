"""The catalogue's writer: applies updates in source order and builds snapshots.

One writer, no locks: call `apply` and `snapshot` from one thread at a time; snapshots may be shared with any number of
readers. An update older than the stored one is ignored, one of equal order is applied: the same catalogue event may
arrive again with more tokenizer versions.

Each snapshot is merged from the previous one (`live_rows`, `merge`): only SIDs that changed and the prefixes above them
are recomputed. If an update is refused or a check finds a defect, the previous snapshot stays in use.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.catalogue.aliases import Aliases
from sidestream.tokenizer.catalogue.encoding import Change, EncodedItem, TraitSets, encode_item, item_columns
from sidestream.tokenizer.catalogue.facts import CatalogueUpdate
from sidestream.tokenizer.catalogue.frozen import Frozen, freeze
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.live_rows import build_live_rows, compact_live_rows, merge_live_rows
from sidestream.tokenizer.catalogue.rows import Rows, RowStore, grow
from sidestream.tokenizer.catalogue.snapshot import CatalogueSnapshot
from sidestream.tokenizer.catalogue.trie.csr import Splice
from sidestream.tokenizer.catalogue.validation import check_merged, check_trie, check_update, check_vectors
from sidestream.tokenizer.errors import CatalogueError
from sidestream.tokenizer.sid import MAX_CODEBOOK_SIZE, item_key

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

Vectorize = Callable[[Sequence[str], Int32Array, Float32Array], tuple[Float32Array, Float32Array]]
"""Maps (item ids, codes [n, L], representation vectors [n, x_dim]) to (item vectors [n, d], weights [n])."""

# The store is compacted once outdated rows outnumber the items, but not for fewer than these.
_MIN_DEAD_ROWS = 4_096
_BEFORE_ALL = -(2**63)
# Snapshots between two full checks of the trie, which read all arrays however little has changed.
_CHECK_ALL_EVERY = 64


class Catalogue:
    """The catalogue under one tokenizer version and one model.

    Args:
        tokenizer_version: Version of the tokenizer that the SIDs belong to.
        codebook_sizes: Codes per level.
        dim: Dimensions of an item vector.
        vectorize: Computes vectors and weights of new or changed items; the model artifact's item table.
        x_dim: Dimensions of a representation vector.

    Raises:
        CatalogueError: No levels, or a codebook too large for u16 codes.
    """

    def __init__(
        self, tokenizer_version: str, codebook_sizes: Sequence[int], dim: int, vectorize: Vectorize, *, x_dim: int = 128
    ) -> None:
        self.tokenizer_version = tokenizer_version
        self.codebook_sizes = tuple(int(size) for size in codebook_sizes)
        if not self.codebook_sizes or not all(0 < size <= MAX_CODEBOOK_SIZE for size in self.codebook_sizes):
            msg = f"catalogue: expected codebook sizes from 1 to {MAX_CODEBOOK_SIZE}, got {self.codebook_sizes}"
            raise CatalogueError(msg)
        self._dim = dim
        self._x_dim = x_dim
        self._vectorize = vectorize
        self._store = RowStore(dim, len(self.codebook_sizes))
        self._index = KeyIndex.empty()
        self._moved: dict[int, int] = {}
        self._aliases = Aliases()
        # By row, but only the writer's, unlike the store: what readers need of these is copied into each snapshot.
        self._orders = np.empty(0, dtype=np.int64)
        self._alive = np.empty(0, dtype=np.bool_)
        # Order of the removal of items never seen: an older update may still arrive and must not restore the item.
        self._tombstones: dict[int, int] = {}
        self._traits = TraitSets()
        self._num_seen = 0
        self._generation = 0
        self._num_snapshots = 0
        self._live_rows = build_live_rows(self._store, np.empty(0, dtype=np.bool_), self.codebook_sizes)
        self._latest: CatalogueSnapshot | None = None
        self._before: CatalogueSnapshot | None = None
        self._latest_at = _BEFORE_ALL

    def apply(self, updates: Sequence[CatalogueUpdate]) -> None:
        """Apply updates in the given order; on an error none is applied.

        Args:
            updates: Upserts and removals. An upsert without a SID under this tokenizer version counts as a removal.

        Raises:
            CatalogueError: An update does not fit this catalogue, or two items have the same key.
        """
        for update in updates:
            check_update(update, self.codebook_sizes, self._x_dim)
        changes = self._plan(updates)
        fresh = [(key, change) for key, change in changes.items() if change.upsert is not None]
        encoded = [encode_item(change.upsert) for _, change in fresh if change.upsert is not None]
        fingerprints = self._store.rows().fingerprints
        appended = [
            (key, change, item)
            for (key, change), item in zip(fresh, encoded, strict=True)
            if change.row < 0 or item.fingerprint != int(fingerprints[change.row]).to_bytes(8, "little")
        ]
        if differs := bool(appended):
            self._append(appended)
        for key, change in changes.items():
            row = self._moved.get(key, change.row)
            if row < 0:
                self._tombstones[key] = change.order
            else:
                differs |= bool(self._alive[row]) != change.alive
                self._orders[row] = change.order
                self._alive[row] = change.alive
                if self._aliases.size:
                    self._alive[self._aliases.of(key)] = change.alive
        if differs:  # Records that only gain or lose another version arrive by the million: no snapshot for those.
            self._latest = None

    def snapshot(self, now_ms: int | None = None, source_offsets: tuple[int, ...] | None = None) -> CatalogueSnapshot:
        """Build a snapshot of the updates applied so far.

        Args:
            now_ms: UTC epoch ms; items expired by then are left out of the buckets. None keeps them.
            source_offsets: Next offset of each partition of the source topic; recorded in the snapshot.

        Returns:
            The snapshot; the previous one, with these offsets, if nothing has changed or expired since.

        Raises:
            CatalogueError: The arrays would be invalid, which is a defect; keep using the previous snapshot.
        """
        at = _BEFORE_ALL if now_ms is None else now_ms
        if self._latest is not None and self._latest_at <= at < self._latest.next_expiry_at:
            return self._latest
        self._index = self._index.merged(self._moved)
        self._moved = {}
        rows = self._store.rows()
        alive = self._alive[: self._store.size].copy()
        alive[rows.expiries.due(at)] = False
        alive.flags.writeable = False
        generation = self._generation
        self._live_rows, delta = merge_live_rows(self._live_rows, self._store, alive, self.codebook_sizes)
        self._compact()
        rows = self._store.rows()
        self._check(rows, delta.splices if generation == self._generation else None)
        self._num_snapshots += 1
        self._latest_at = at
        self._latest = snapshot = CatalogueSnapshot(
            version=f"{self.tokenizer_version}.{self._num_snapshots}",
            tokenizer_version=self.tokenizer_version,
            codebook_sizes=self.codebook_sizes,
            rows=rows,
            text=self._store.text(),
            trie=self._live_rows.trie,
            index=self._index,
            row_alive=self._live_rows.alive,
            aliases=(aliases := self._aliases.for_readers(self._index)),
            traits=self._traits.listed(),
            popular_rows=aliases.without_aliases(self._live_rows.heaviest)[: self._live_rows.popular.size],
            newest_rows=aliases.without_aliases(self._live_rows.latest)[: self._live_rows.newest.size],
            store_generation=self._generation,
            source_offsets=source_offsets,
        )
        if self._before is not None and delta.splices is not None and generation == self._generation:
            snapshot.carry_rules(self._before, delta)
        self._before = snapshot
        return snapshot

    def frozen(self) -> Frozen:
        """Capture the current state, from which a later process can continue; later updates do not change it."""
        arrays = freeze(self._store, self._orders, self._alive, self._aliases.rows(), self._tombstones)
        return Frozen(arrays, self._traits.listed(), self._num_seen, self._num_snapshots)

    def restore(self, frozen: Frozen) -> None:
        """Replace the state by a captured one; raises `CatalogueError` and changes nothing if it does not fit."""
        frozen.require_fitting(self.codebook_sizes, self._dim)
        self._store = frozen.store(self._dim, len(self.codebook_sizes))
        self._index = frozen.index()
        self._tombstones = frozen.tombstones()
        self._orders = np.array(frozen.arrays["orders"])
        self._alive = np.array(frozen.arrays["alive"])
        self._traits = TraitSets(frozen.traits)
        self._aliases = frozen.aliases()
        self._num_seen = frozen.num_seen
        self._num_snapshots = frozen.num_snapshots
        self._generation += 1
        self._moved = {}
        self._latest = None
        self._before = None
        self._live_rows = build_live_rows(self._store, np.zeros(0, dtype=np.bool_), self.codebook_sizes)

    def num_bytes(self) -> dict[str, int]:
        """Return the bytes in use by the catalogue and its latest snapshot, by part, without spare capacity."""
        return {
            **self._store.num_bytes(),
            **self._live_rows.trie.num_bytes(),
            "sums": sum(level.nbytes for level in self._live_rows.sums),
            "index": self._index.nbytes,
            "writer": self._store.size * (self._orders.itemsize + self._alive.itemsize + 1),
        }

    def _check(self, rows: Rows, splices: tuple[Splice, ...] | None) -> None:
        """Check the changed part of the trie; all of it if there are no splices, and at regular intervals."""
        trie = self._live_rows.trie
        if splices is None or self._num_snapshots % _CHECK_ALL_EVERY == 0:
            check_trie(trie, self.codebook_sizes, rows)
        elif splices:
            check_merged(trie, splices, self.codebook_sizes, rows, self._live_rows.alive)

    def _plan(self, updates: Sequence[CatalogueUpdate]) -> dict[int, Change]:
        """Reduce updates to one change per item without side effects; items in the order of their first upsert."""
        keys = [item_key(update.item_id) for update in updates]
        rows = self._index.find(np.array(keys, dtype=np.uint64)).tolist()
        store, text = self._store.rows(), self._store.text()
        changes: dict[int, Change] = {}
        for update, key, indexed in zip(updates, keys, rows, strict=True):
            change = changes.get(key)
            if change is None:
                row = self._moved.get(key, indexed)
                known_id = update.item_id if row < 0 else store.item_id(text, row)
                before = self._tombstones.get(key, _BEFORE_ALL) if row < 0 else int(self._orders[row])
                change = Change(known_id, row, before, row >= 0 and bool(self._alive[row]))
            if change.item_id != update.item_id:
                msg = (
                    f"items {change.item_id!r} and {update.item_id!r} share the key {key:#018x}; "
                    "rename one of them: histories could not distinguish them"
                )
                raise CatalogueError(msg)
            order = update.order
            if order is None:
                if update.facts is None and change.row < 0 and change.upsert is None:
                    continue
            elif order < change.order:
                continue
            else:
                change.order = order
            change.alive = update.facts is not None and update.sid is not None
            if change.alive:
                if change.upsert is None:
                    # Moves the item to the end: new items are numbered in the order of their first upsert.
                    changes.pop(key, None)
                change.upsert = update
            changes[key] = change
        return changes

    def _append(self, appended: Sequence[tuple[int, Change, EncodedItem]]) -> None:
        """Append a row for each new or changed item."""
        items = [item for _, _, item in appended]
        codes = np.array([item.sid for item in items], dtype=np.int32)
        x_int8 = np.frombuffer(b"".join(item.x_int8 for item in items), dtype=np.int8)
        x_scales = np.array([[item.update.x_scale] for item in items], dtype=np.float32)
        x = x_int8.reshape(len(items), self._x_dim) * x_scales
        vectors, weights = self._vectorize([item.update.item_id for item in items], codes, x)
        check_vectors(vectors, weights, (len(items), self._dim))
        columns = item_columns(items, [key for key, _, _ in appended], self._traits)
        columns["vectors"], columns["scales"] = quantize_rows(vectors, precision=np.float32)
        columns["weights"] = weights
        old = np.array([change.row for _, change, _ in appended], dtype=np.int64)
        columns["first_seen"] = self._first_seen(old)
        start = self._store.size
        self._store.append(columns, b"".join(item.id_text + item.facts_text for item in items))
        self._reserve_flags(start)
        self._alive[old[old >= 0]] = False
        for row, (key, _, _) in enumerate(appended, start):
            self._moved[key] = row
            self._tombstones.pop(key, None)
            if self._aliases.size:
                self._alive[self._aliases.remove(key)] = False
        if any(item.more_sids for item in items):
            self._aliases.append([key for key, _, _ in appended], items, columns, self._store)
            self._reserve_flags(start + len(items))

    def _reserve_flags(self, used: int) -> None:
        if self._orders.size < self._store.size:
            self._orders = grow(self._orders, used, 2 * self._store.size)
            self._alive = grow(self._alive, used, 2 * self._store.size)

    def _first_seen(self, old: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number new items in order; changed items keep their number. Shape: (n,)."""
        first_seen = np.empty(old.size, dtype=np.int64)
        known = old >= 0
        first_seen[known] = self._store.rows().first_seen[old[known]]
        count = int(np.count_nonzero(~known))
        first_seen[~known] = np.arange(self._num_seen, self._num_seen + count)
        self._num_seen += count
        return first_seen

    def _compact(self) -> None:
        """Drop outdated rows and means once they outnumber the items; readers keep the old store."""
        items = self._index.num_keys + self._aliases.size
        means = int(np.count_nonzero(self._live_rows.trie.leaf_rows < 0))
        if self._store.size - items + self._store.num_means - means <= max(_MIN_DEAD_ROWS, items):
            return
        index = self._index.compacted()
        kept = np.sort(np.concatenate((index.rows, self._aliases.rows())))
        self._live_rows, self._store = compact_live_rows(self._live_rows, self._store, kept)
        self._orders, self._alive = self._orders[kept], self._alive[kept]
        self._index = KeyIndex(index.keys, np.searchsorted(kept, index.rows).astype(np.int32))
        self._aliases.renumber(kept)
        self._generation += 1
