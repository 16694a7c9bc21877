"""Append-only columnar store of item rows.

Invariants:
- A row never changes once appended. A changed item gets a new row; the old one remains for readers that hold it.
- Readers see read-only views of the first `size` rows. Appending writes only after them; growing (by doubling) moves
  the store to new buffers and leaves the old ones to the views that hold them. So readers are never affected and
  publishing a snapshot copies nothing.
- Item vectors share one table with the means of SIDs that several items have: items from its front, means from its
  end, so that row r is an item and row -k a mean, in numpy and in the graph alike. The rows between are undefined.
- Texts (ids, facts) are packed in one byte buffer: no Python object per item.

Shape legend: R = rows, C = rows of the table of vectors (C >= R), e = rows that expire, d = dimensions of an item
vector, L = levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.facts import ItemFacts
from sidestream.tokenizer.errors import CatalogueError

UNKNOWN_S = 0
NEVER_MS = np.iinfo(np.int64).max

# Largest offset that a 32-bit start can hold.
MAX_TEXT_BYTES = 2**32 - 1
_INITIAL_ROWS = 256
_INITIAL_TEXT_BYTES = 16_384
_facts_decoder = msgspec.msgpack.Decoder(ItemFacts)


@dataclass(frozen=True, eq=False, slots=True)
class Expiries:
    """Expiry times, stored only for rows that expire, since most items never do.

    Attributes:
        rows: Rows that expire, ascending. Shape: (e,).
        expires_at: UTC epoch ms of each row. Shape: (e,).
    """

    rows: npt.NDArray[np.int32]
    expires_at: npt.NDArray[np.int64]

    def due(self, now_ms: int) -> npt.NDArray[np.int32]:
        """Return the rows that have expired by `now_ms`, UTC epoch ms. Shape: (<= e,)."""
        return self.rows[self.expires_at <= now_ms]

    def next_at(self, some: npt.NDArray[np.bool_]) -> int:
        """Return when the first row of a mask expires, UTC epoch ms, the largest int64 for never."""
        return int(np.min(self.expires_at, where=some[self.rows], initial=NEVER_MS))

    def by_row(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the expiry time of every row, UTC epoch ms, the largest int64 for never. Shape: (num_rows,)."""
        every = np.full(num_rows, NEVER_MS, dtype=np.int64)
        every[self.rows] = self.expires_at
        return every


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Columns of item rows, each contiguous.

    Attributes:
        vector_table: Item vectors from the front, means of shared SIDs from the end, int8. Shape: (C, d).
        scale_table: Component = int8 * scale. Shape: (C,).
        weights: Weight of the item in node vectors and in popularity. Shape: (R,).
        codes: SID. Shape: (R, L).
        keys: Item key. Shape: (R,).
        creator_keys: 32-bit hash of the creator, 0 for none. Shape: (R,).
        show_keys: 32-bit hash of the show, 0 for none. Shape: (R,).
        published_s: UTC epoch seconds, rounded down, 0 where unknown; precise enough to rank by age. Shape: (R,).
        traits: Index into the catalogue's list of traits. Shape: (R,).
        first_seen: Sequence number of the item's first appearance; kept when the item changes. Shape: (R,).
        fingerprints: Hash of the update's content, to recognise an update that changes nothing. Shape: (R,).
        text_starts: Start of the row's id in the text buffer; its facts follow, up to the next row. Shape: (R,).
        id_bytes: Length of the id. Shape: (R,).
        expiries: Expiry times of the rows that expire.
    """

    vector_table: npt.NDArray[np.int8]
    scale_table: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    codes: npt.NDArray[np.uint16]
    keys: npt.NDArray[np.uint64]
    creator_keys: npt.NDArray[np.uint32]
    show_keys: npt.NDArray[np.uint32]
    published_s: npt.NDArray[np.uint32]
    traits: npt.NDArray[np.uint16]
    first_seen: npt.NDArray[np.uint32]
    fingerprints: npt.NDArray[np.uint64]
    text_starts: npt.NDArray[np.uint32]
    id_bytes: npt.NDArray[np.uint16]
    expiries: Expiries

    @property
    def vectors(self) -> npt.NDArray[np.int8]:
        """Return the item vectors. Shape: (R, d)."""
        return self.vector_table[: self.keys.size]

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """Return the scales of the item vectors. Shape: (R,)."""
        return self.scale_table[: self.keys.size]

    def item_id(self, text: npt.NDArray[np.uint8], row: int) -> str:
        """Return the id of a row."""
        start = int(self.text_starts[row])
        return text[start : start + int(self.id_bytes[row])].tobytes().decode("utf-8", "surrogatepass")

    def facts(self, text: npt.NDArray[np.uint8], row: int) -> ItemFacts:
        """Return the facts of a row."""
        start = int(self.text_starts[row]) + int(self.id_bytes[row])
        end = int(self.text_starts[row + 1]) if row + 1 < self.keys.size else text.size
        return _facts_decoder.decode(text[start:end].data)


_TABLES = {"vectors": "vector_table", "scales": "scale_table"}
_COLUMNS = tuple(field.name for field in fields(Rows) if field.name not in (*_TABLES.values(), "expiries"))
COLUMN_DTYPES: dict[str, type[np.generic]] = {
    "weights": np.float32,
    "codes": np.uint16,
    "keys": np.uint64,
    "creator_keys": np.uint32,
    "show_keys": np.uint32,
    "published_s": np.uint32,
    "traits": np.uint16,
    "first_seen": np.uint32,
    "fingerprints": np.uint64,
    "text_starts": np.uint32,
    "id_bytes": np.uint16,
}


class RowStore:
    """Append-only columns; one writer.

    Args:
        dim: Dimensions of an item vector.
        num_levels: Levels of a SID.
    """

    def __init__(self, dim: int, num_levels: int) -> None:
        self.dim = dim
        self.num_levels = num_levels
        self.size = 0
        self.text_size = 0
        self.num_means = 0
        widths = {"codes": (num_levels,)}
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.empty((_INITIAL_ROWS, *widths.get(name, ())), dtype=COLUMN_DTYPES[name]) for name in _COLUMNS
        }
        self._tables: dict[str, npt.NDArray[Any]] = {
            "vectors": np.empty((_INITIAL_ROWS, dim), dtype=np.int8),
            "scales": np.empty(_INITIAL_ROWS, dtype=np.float32),
        }
        self._num_expiring = 0
        self._expiring = np.empty(0, dtype=np.int32)
        self._expires_at = np.empty(0, dtype=np.int64)
        self._text = np.empty(_INITIAL_TEXT_BYTES, dtype=np.uint8)

    def num_bytes(self) -> dict[str, int]:
        """Return the bytes in use by part, without the spare capacity."""
        a_vector = self._tables["vectors"].itemsize * self.dim + self._tables["scales"].itemsize
        return {
            "item_vectors": self.size * a_vector,
            "shared_means": self.num_means * a_vector,
            "columns": sum(int(column[: self.size].nbytes) for column in self._columns.values()),
            "expiries": self._num_expiring * (self._expiring.itemsize + self._expires_at.itemsize),
            "texts": self.text_size,
        }

    def append(self, columns: Mapping[str, npt.NDArray[Any]], texts: bytes | npt.NDArray[np.uint8]) -> None:
        """Append rows.

        Args:
            columns: Every column of `Rows`, `vectors`, `scales` and `expires_at`; `text_starts` relative to `texts`.
            texts: Ids and facts of these rows, in order.

        Raises:
            CatalogueError: The store would hold more than 4 GiB of texts.
        """
        count = len(columns["keys"])
        if self.text_size + len(texts) > MAX_TEXT_BYTES:
            msg = (
                f"catalogue: ids and facts of {self.size + count} rows take more than {MAX_TEXT_BYTES} bytes; "
                "shorten titles and tags"
            )
            raise CatalogueError(msg)
        end, text_end = self.size + count, self.text_size + len(texts)
        self._reserve(end, text_end)
        for name, column in (*self._columns.items(), *self._tables.items()):
            column[self.size : end] = columns[name]
        self._append_expiries(columns["expires_at"])
        self._columns["text_starts"][self.size : end] += np.uint32(self.text_size)
        self._text[self.text_size : text_end] = np.frombuffer(texts, dtype=np.uint8)
        self.size, self.text_size = end, text_end

    def append_means(self, vectors: npt.NDArray[np.int8], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Append mean vectors of SIDs shared by several items.

        Args:
            vectors: int8 components.
                Shape: (n, d).
            scales: Component = int8 * scale.
                Shape: (n,).

        Returns:
            Their indices in the table, negative: counted from its end.
            Shape: (n,).
        """
        first, end = self.num_means, self.num_means + len(vectors)
        self._reserve_vectors(self.size, end)
        capacity = len(self._tables["scales"])
        self._tables["vectors"][capacity - end : capacity - first] = vectors[::-1]
        self._tables["scales"][capacity - end : capacity - first] = scales[::-1]
        self.num_means = end
        return -1 - np.arange(first, end, dtype=np.int32)

    def rows(self) -> Rows:
        """Return read-only views of the rows so far; later appends are not visible in them."""
        tables = {_TABLES[name]: _view(table, len(table)) for name, table in self._tables.items()}
        expiries = Expiries(_view(self._expiring, self._num_expiring), _view(self._expires_at, self._num_expiring))
        columns = {name: _view(column, self.size) for name, column in self._columns.items()}
        return Rows(**tables, **columns, expiries=expiries)

    def text(self) -> npt.NDArray[np.uint8]:
        """Return a read-only view of the text buffer so far."""
        return _view(self._text, self.text_size)

    def copy_rows(self, rows: npt.NDArray[np.int32]) -> "RowStore":
        """Copy some rows into a new store.

        Args:
            rows: Rows to keep, ascending.
                Shape: (n,).

        Returns:
            The new store, without means; this one is unchanged.
        """
        old, text = self.rows(), self.text()
        ends = np.append(old.text_starts[1:], np.uint32(text.size))
        starts = old.text_starts[rows].astype(np.int64)
        lengths = ends[rows] - starts
        is_kept = np.zeros(self.size, dtype=np.bool_)
        is_kept[rows] = True
        stays = np.repeat(is_kept, ends - old.text_starts)
        columns = {name: getattr(old, name)[rows] for name in (*_COLUMNS, *_TABLES)}
        columns["expires_at"] = old.expiries.by_row(self.size)[rows]
        columns["text_starts"] = np.cumsum(lengths) - lengths
        store = RowStore(self.dim, self.num_levels)
        store.append(columns, text[stays].tobytes())
        return store

    def _append_expiries(self, expires_at: npt.NDArray[np.int64]) -> None:
        """Store the expiry times of rows that are being appended, which are numbered from the current size."""
        expiring = np.flatnonzero(expires_at != NEVER_MS)
        used, end = self._num_expiring, self._num_expiring + expiring.size
        if end > self._expiring.size:
            self._expiring = grow(self._expiring, used, 2 * end)
            self._expires_at = grow(self._expires_at, used, 2 * end)
        self._expiring[used:end] = expiring + self.size
        self._expires_at[used:end] = expires_at[expiring]
        self._num_expiring = end

    def _reserve(self, rows: int, text_bytes: int) -> None:
        capacity = len(self._columns["keys"])
        if rows > capacity:
            capacity = max(rows, 2 * capacity)
            self._columns = {name: grow(column, self.size, capacity) for name, column in self._columns.items()}
        self._reserve_vectors(rows, self.num_means)
        if text_bytes > self._text.size:
            self._text = grow(self._text, self.text_size, max(text_bytes, 2 * self._text.size))

    def _reserve_vectors(self, rows: int, num_means: int) -> None:
        capacity = len(self._tables["scales"])
        if rows + num_means <= capacity:
            return
        larger = max(rows + num_means, 2 * capacity)
        for name, table in self._tables.items():
            moved = grow(table, self.size, larger)
            moved[larger - self.num_means :] = table[capacity - self.num_means :]
            self._tables[name] = moved


def _view(buffer: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    view = buffer[:size]
    view.flags.writeable = False
    return view


def grow(buffer: npt.NDArray[Any], used: int, capacity: int) -> npt.NDArray[Any]:
    """Copy the first `used` rows of a buffer into a new one of `capacity` rows; the other rows are undefined."""
    larger = np.empty((capacity, *buffer.shape[1:]), dtype=buffer.dtype)
    larger[:used] = buffer[:used]
    return larger
