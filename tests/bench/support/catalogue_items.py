"""Makes up catalogue items at any number, and the tries that the catalogue is compared with. Needs no broker."""

import base64
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.live_rows import build_live_rows
from sidestream.tokenizer.catalogue.rows import RowStore
from sidestream.tokenizer.catalogue.validation import check_trie

VERSION = "00112233aabb"
SIZES = (256, 256, 256)
DIM = 128
WORDS = (
    "night",
    "river",
    "signal",
    "paper",
    "north",
    "glass",
    "echo",
    "summer",
    "static",
    "harbour",
    "violet",
    "stone",
)

_encoder = msgspec.json.Encoder()


class Items:
    """An endless catalogue: item n says the same whenever it is asked for, under one seed and generation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng(seed)
        # Codes are used unevenly, as those of fitted codebooks are.
        self._use = [rng.dirichlet(np.full(size, 2.0)) for size in SIZES]

    def records(self, first: int, count: int, generation: int = 0) -> list[tuple[bytes, bytes]]:
        """Return records of `item-sids.v1`; another generation has other SIDs and vectors."""
        rng = np.random.default_rng((self.seed, first, count, generation))
        codes = np.stack([rng.choice(len(use), count, p=use) for use in self._use], axis=1).tolist()
        vectors = rng.integers(-127, 128, (count, DIM), dtype=np.int8)
        words = rng.integers(0, len(WORDS), (count, 4)).tolist()
        return [
            (
                b"item-%08d" % number,
                self._value(number, generation, codes[place], vectors[place].tobytes(), words[place]),
            )
            for place, number in enumerate(range(first, first + count))
        ]

    def _value(self, number: int, generation: int, sid: list[int], vector: bytes, words: list[int]) -> bytes:
        tokenized = {"sid": sid, "vector": base64.b64encode(vector).decode(), "vector_scale": 0.01}
        return _encoder.encode(
            {
                "item_id": f"item-{number:08d}",
                "kind": "track",
                "title": " ".join(WORDS[word] for word in words),
                "creator": f"artist {number % 50_000}",
                "language": "en",
                "published_at": 1_700_000_000_000 + number,
                "source_offset": generation,
                "versions": {VERSION: tokenized},
            }
        )

    def batches(self, count: int, size: int = 20_000) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the first items, batch after batch."""
        for first in range(0, count, size):
            yield self.records(first, min(size, count - first))


def new_catalogue() -> Catalogue:
    """Return an empty catalogue whose item vectors are the representation vectors."""

    def vectorize(
        item_ids: Any, codes: Any, x: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return x, (1.0 + codes[:, -1] % 7).astype(np.float32)

    return Catalogue(VERSION, SIZES, DIM, vectorize, x_dim=DIM)


def store_of(snapshot: CatalogueSnapshot) -> RowStore:
    """Copy the rows of a snapshot into a store of their own, without means."""
    store = RowStore(snapshot.rows.vectors.shape[1], len(snapshot.codebook_sizes))
    names = [name for name in snapshot.rows.__dataclass_fields__ if not name.endswith(("_table", "expiries"))]
    columns = {name: getattr(snapshot.rows, name) for name in ("vectors", "scales", *names)}
    columns["expires_at"] = snapshot.rows.expiries.by_row(snapshot.num_rows)
    store.append(columns, snapshot.text.tobytes())
    return store


def rebuild(store: RowStore, alive: npt.NDArray[np.bool_]) -> None:
    """Do what a snapshot without a merge would: trie, lists, index and checks from the rows alone."""
    standing = build_live_rows(store, alive, SIZES)
    rows = store.rows()
    order = np.argsort(rows.keys, kind="stable")
    KeyIndex(rows.keys[order], order.astype(np.int32))
    check_trie(standing.trie, SIZES, rows)


def dict_trie(sids: list[list[int]]) -> dict[int, Any]:
    """Build the trie that most open code has: dicts of dicts, lists of rows."""
    root: dict[int, Any] = {}
    for row, (first, second, third) in enumerate(sids):
        root.setdefault(first, {}).setdefault(second, {}).setdefault(third, []).append(row)
    return root


def bytes_of_dicts(node: Any) -> int:
    """Return the memory of a trie of dicts; small integers are shared by all of Python and not counted."""
    if isinstance(node, dict):
        return sys.getsizeof(node) + sum(map(bytes_of_dicts, node.values()))
    return sys.getsizeof(node) + 32 * len(node)


def invalid_among(snapshot: CatalogueSnapshot, count: int, rng: np.random.Generator) -> int:
    """Look candidates of a pinned snapshot up the way a request does, and count those that do not fit together."""
    rows = snapshot.bucket_rows[rng.integers(0, snapshot.num_items, count)]
    leaves = snapshot.leaf_of_sid(snapshot.codes_of_rows(rows))
    fits = (leaves >= 0) & snapshot.row_alive[rows]
    fits &= snapshot.row_of_key(snapshot.item_key[rows]) == rows
    starts, ends = snapshot.bucket_offsets[leaves], snapshot.bucket_offsets[leaves + 1]
    sizes = ends - starts
    for step in range(int(sizes.max(initial=0))):
        here = snapshot.bucket_rows[np.minimum(starts + step, snapshot.num_items - 1)] == rows
        sizes[here & (starts + step < ends)] = 0
    fits &= sizes == 0
    # The vector that guides the search to a SID of one item must be that item's own.
    guides, alone = snapshot.trie.leaf_rows[leaves], ends - starts == 1
    fits &= np.where(alone, guides == rows, guides < 0)
    return int(np.count_nonzero(~fits))
