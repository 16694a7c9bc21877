"""Frozen catalogue: the rows and the writer's state as arrays, from which a later process continues.

Only what cannot be recomputed is kept. Trie, means, lists and index are rebuilt from the rows: that takes a second per
million rows, and their form may change from release to release without a new layout.

Rows are append-only, so they are held as views and a capture copies ten bytes a row; the writer may continue meanwhile.

Shape legend: R = rows of the store, t = removals of items never seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.aliases import Aliases
from sidestream.tokenizer.catalogue.encoding import Traits
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.rows import COLUMN_DTYPES, Expiries, RowStore
from sidestream.tokenizer.catalogue.validation import LEAST_WEIGHT, MOST_WEIGHT
from sidestream.tokenizer.errors import CatalogueError

# In addition to the columns of the store; shapes (e,), (e,), (bytes,), (R,), (R,), (a,), (t,), (t,).
_OTHERS: dict[str, type[np.generic]] = {
    "expiring_rows": np.int32,
    "expires_at": np.int64,
    "text": np.uint8,
    "orders": np.int64,
    "alive": np.bool_,
    "alias_rows": np.int32,
    "tombstone_keys": np.uint64,
    "tombstone_orders": np.int64,
}
_DTYPES = {"vectors": np.int8, "scales": np.float32, **COLUMN_DTYPES, **_OTHERS}


@dataclass(frozen=True, eq=False, slots=True)
class Frozen:
    """One state of a catalogue.

    Attributes:
        arrays: By name: the columns of the store, expiries and texts; update order and liveness by row; removals of
            items never seen.
        traits: Traits by number, as the column `traits` refers to them.
        num_seen: Items ever seen.
        num_snapshots: Snapshots built so far.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    traits: tuple[Traits, ...]
    num_seen: int
    num_snapshots: int

    @property
    def num_rows(self) -> int:
        """Return R."""
        return int(self.arrays["keys"].size)

    def require_fitting(self, codebook_sizes: tuple[int, ...], dim: int) -> None:
        """Check that the arrays are those of a catalogue with these sizes.

        Args:
            codebook_sizes: Codes per level.
            dim: Dimensions of an item vector.

        Raises:
            CatalogueError: An array is missing, has another type or shape, or refers outside another array.
        """
        arrays = self.arrays
        wrong = sorted(set(arrays) ^ set(_DTYPES)) or [n for n, kind in _DTYPES.items() if arrays[n].dtype != kind]
        if wrong:
            msg = f"frozen catalogue: expected the arrays of this release, got different ones ({', '.join(wrong)})"
            raise CatalogueError(msg)
        size, widths = self.num_rows, {"vectors": (dim,), "codes": (len(codebook_sizes),)}
        by_row = ("vectors", "scales", *COLUMN_DTYPES, "orders", "alive")
        if bad := [name for name in by_row if arrays[name].shape != (size, *widths.get(name, ()))]:
            msg = f"frozen catalogue: expected {bad[0]} of {size} rows, got shape {arrays[bad[0]].shape}"
            raise CatalogueError(msg)
        starts, expiring = arrays["text_starts"].astype(np.int64), arrays["expiring_rows"]
        bounds = np.append(starts, arrays["text"].size)
        fits = {
            "codes": bool((arrays["codes"] < np.array(codebook_sizes)).all()),
            "text_starts": bool((bounds[0] == 0 or not size) and (np.diff(bounds) >= arrays["id_bytes"]).all()),
            "traits": not size or int(arrays["traits"].max()) < len(set(self.traits)),
            "alias_rows": bool(((arrays["alias_rows"] >= 0) & (arrays["alias_rows"] < size)).all()),
            "weights": bool(((arrays["weights"] >= LEAST_WEIGHT) & (arrays["weights"] <= MOST_WEIGHT)).all()),
            "scales": bool(np.isfinite(arrays["scales"]).all()),
            "expiring_rows": expiring.shape == arrays["expires_at"].shape
            and bool(((expiring >= 0) & (expiring < size)).all()),
            "tombstone_keys": arrays["tombstone_keys"].shape == arrays["tombstone_orders"].shape,
        }
        if bad := [name for name, good in fits.items() if not good]:
            msg = f"frozen catalogue: {bad[0]} does not fit the other arrays"
            raise CatalogueError(msg)

    def store(self, dim: int, num_levels: int) -> RowStore:
        """Copy the rows into a new store, without means, that can grow."""
        store = RowStore(dim, num_levels)
        columns = {name: self.arrays[name] for name in ("vectors", "scales", *COLUMN_DTYPES)}
        columns["expires_at"] = Expiries(self.arrays["expiring_rows"], self.arrays["expires_at"]).by_row(self.num_rows)
        store.append(columns, self.arrays["text"])
        return store

    def index(self) -> KeyIndex:
        """Build the index of the newest row of each item: the last one appended that is not an alias."""
        own = np.ones(self.num_rows, dtype=np.bool_)
        own[self.arrays["alias_rows"]] = False
        rows = np.flatnonzero(own)
        keys = self.arrays["keys"][rows]
        order = np.argsort(keys, kind="stable")
        keys, order = keys[order], rows[order]
        newest = np.append(keys[1:] != keys[:-1], np.ones(min(1, keys.size), dtype=np.bool_))
        return KeyIndex(keys[newest], order[newest].astype(np.int32))

    def aliases(self) -> Aliases:
        """Return the aliases of all items."""
        aliases, rows = Aliases(), self.arrays["alias_rows"]
        for row, key in zip(rows.tolist(), self.arrays["keys"][rows].tolist(), strict=True):
            aliases.add(key, row)
        return aliases

    def tombstones(self) -> dict[int, int]:
        """Return the removals of items never seen: update order by item key."""
        keys, orders = self.arrays["tombstone_keys"], self.arrays["tombstone_orders"]
        return dict(zip(keys.tolist(), orders.tolist(), strict=True))


def freeze(
    store: RowStore,
    orders: npt.NDArray[np.int64],
    alive: npt.NDArray[np.bool_],
    alias_rows: npt.NDArray[np.int32],
    tombstones: Mapping[int, int],
) -> dict[str, npt.NDArray[Any]]:
    """Gather the arrays of a catalogue.

    Args:
        store: The rows.
        orders: Update order of each row; copied, since the writer changes it.
            Shape: (>= R,).
        alive: Rows that are not removed; copied for the same reason.
            Shape: (>= R,).
        alias_rows: Rows of additional SIDs.
            Shape: (a,).
        tombstones: Removals of items never seen: update order by item key.

    Returns:
        The arrays of `Frozen`.
    """
    rows = store.rows()
    return {
        "vectors": rows.vectors,
        "scales": rows.scales,
        **{name: getattr(rows, name) for name in COLUMN_DTYPES},
        "expiring_rows": rows.expiries.rows,
        "expires_at": rows.expiries.expires_at,
        "text": store.text(),
        "orders": orders[: store.size].copy(),
        "alive": alive[: store.size].copy(),
        "alias_rows": alias_rows,
        "tombstone_keys": np.fromiter(tombstones.keys(), dtype=np.uint64, count=len(tombstones)),
        "tombstone_orders": np.fromiter(tombstones.values(), dtype=np.int64, count=len(tombstones)),
    }
