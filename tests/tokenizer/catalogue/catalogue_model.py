"""Model of a catalogue as plain dicts, and checks of a snapshot against it."""

import math
import zlib
from dataclasses import dataclass, fields

import numpy as np

from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot, CatalogueUpdate, ItemFacts, live_rows
from sidestream.tokenizer.catalogue.encoding import name_key
from sidestream.tokenizer.sid import item_key
from tests.bench.support.catalogue_items import store_of

SIZES = (3, 2, 4)
DIM = 4
NEVER = 2**63 - 1


def weight_of(item_id: str) -> float:
    return float(zlib.crc32(item_id.encode()) % 4 + 1)


def vectorize(item_ids, codes, x):
    assert codes.shape == (len(item_ids), len(SIZES))
    assert codes.dtype == np.int32
    return x + codes[:, :1].astype(np.float32), np.array([weight_of(i) for i in item_ids], dtype=np.float32)


def new_catalogue(**options) -> Catalogue:
    return Catalogue("v1", SIZES, DIM, vectorize, x_dim=DIM, **options)


def seconds_of(facts: ItemFacts) -> int:
    """What a row keeps of when its item was published; zero is for the unknown."""
    return 0 if facts.published_at is None else min(max(facts.published_at // 1_000, 1), 2**32 - 1)


@dataclass
class Item:
    order: tuple[float, int] = (-math.inf, 0)
    alive: bool = False
    upsert: CatalogueUpdate | None = None
    seen: int = -1


class Model:
    """What the catalogue must hold, one update at a time."""

    def __init__(self):
        self.items: dict[str, Item] = {}
        self.num_seen = 0

    def apply(self, update: CatalogueUpdate) -> None:
        item = self.items.setdefault(update.item_id, Item())
        if update.source_offset is not None:
            if (update.source_offset, update.revision) < item.order:
                return
            item.order = (update.source_offset, update.revision)
        item.alive = update.facts is not None and update.sid is not None
        if item.alive:
            if item.upsert is None:
                item.seen = self.num_seen
                self.num_seen += 1
            item.upsert = update

    def alive(self, now_ms: int | None) -> dict[str, CatalogueUpdate]:
        return {
            item_id: item.upsert
            for item_id, item in self.items.items()
            if item.alive and (now_ms is None or expiry(item.upsert.facts) > now_ms)
        }


def expiry(facts: ItemFacts) -> int:
    return NEVER if facts.expires_at is None else facts.expires_at


def vector_of(update: CatalogueUpdate) -> np.ndarray:
    x = np.frombuffer(update.x_int8, dtype=np.int8).astype(np.float64) * update.x_scale
    return x + update.sid[0]


def check(snapshot: CatalogueSnapshot, model: Model, now_ms: int | None) -> None:
    alive = model.alive(now_ms)
    check_lookups(snapshot, model, alive)
    check_buckets(snapshot, alive)
    check_trie(snapshot, alive)
    check_lists(snapshot, model, alive)


def check_lookups(snapshot, model, alive):
    ids = sorted(model.items)
    rows = snapshot.row_of_key(np.array([item_key(i) for i in ids], dtype=np.uint64))
    for item_id, row in zip(ids, rows.tolist(), strict=True):
        upsert = model.items[item_id].upsert
        stored = snapshot.stored_sid(item_key(item_id))
        if upsert is None:
            assert row == -1
            assert stored is None
            continue
        assert snapshot.item_id(row) == item_id
        assert snapshot.facts(row) == upsert.facts
        assert snapshot.sid_of_row(row) == upsert.sid
        assert stored == ("v1", upsert.sid)
        assert bool(snapshot.row_alive[row]) == (item_id in alive)
        got = snapshot.item_vectors[row] * np.float64(snapshot.item_scales[row])
        assert np.abs(got - vector_of(upsert)).max() <= 0.51 * snapshot.item_scales[row] + 1e-5
        assert snapshot.item_weight[row] == weight_of(item_id)
        assert snapshot.published_s[row] == seconds_of(upsert.facts)
        assert snapshot.creator_key[row] == (name_key(upsert.facts.creator) if upsert.facts.creator else 0)
    assert np.count_nonzero(snapshot.row_alive) == len(alive) == snapshot.num_items


def check_buckets(snapshot, alive):
    by_sid: dict[tuple, set[str]] = {}
    for item_id, update in alive.items():
        by_sid.setdefault(update.sid, set()).add(item_id)
    sids = sorted(by_sid)
    assert snapshot.max_bucket == max(map(len, by_sid.values()), default=0)
    for leaf, sid in enumerate(sids):
        rows = snapshot.bucket_rows[snapshot.bucket_offsets[leaf] : snapshot.bucket_offsets[leaf + 1]]
        ids = snapshot.item_ids(rows)
        assert len(ids) == len(by_sid[sid])
        assert set(ids) == by_sid[sid]
        weights = [weight_of(item_id) for item_id in ids]
        assert weights == sorted(weights, reverse=True)
    every = np.array(list(np.ndindex(*SIZES)), dtype=np.int32)
    expected = [sids.index(sid) if sid in by_sid else -1 for sid in map(tuple, every.tolist())]
    assert snapshot.leaf_of_sid(every).tolist() == expected
    outside = np.array([[-1, 0, 0], [0, 2, 0], [0, -1, 3], [0, 0, 4], [1, 1, -1]], dtype=np.int32)
    assert snapshot.leaf_of_sid(outside).tolist() == [-1] * 5


def check_trie(snapshot, alive):
    nodes = [0]
    prefixes: list[tuple] = [()]
    for level in range(len(SIZES)):
        offsets, codes = snapshot.level_offsets[level], snapshot.level_codes[level]
        assert offsets.dtype == codes.dtype == np.int32
        assert offsets.size == len(nodes) + 1
        children = [
            (*prefix, int(codes[child]))
            for node, prefix in zip(nodes, prefixes, strict=True)
            for child in range(offsets[node], offsets[node + 1])
        ]
        assert children == sorted({update.sid[: level + 1] for update in alive.values()})
        fans = [sum(child[:level] == prefix for child in children) for prefix in prefixes]
        assert snapshot.max_children[level] == max(fans, default=0)
        prefixes, nodes = children, list(range(len(children)))
        for node, prefix in enumerate(prefixes):
            check_node(snapshot, level, node, [u for u in alive.values() if u.sid[: level + 1] == prefix])


def check_node(snapshot, level, node, below):
    weights = np.array([weight_of(update.item_id) for update in below])
    mean = (weights[:, None] * [vector_of(update) for update in below]).sum(axis=0) / weights.sum()
    scale = snapshot.node_scales[level][node]
    # Items are rounded once, their means once a level from the last but one up: half a step of each.
    step = (1 + (level < len(SIZES) - 2)) * max(np.abs(vector_of(update)).max() / 127 for update in below) + scale
    assert np.abs(snapshot.node_vectors[level][node] * np.float64(scale) - mean).max() <= 0.51 * step + 1e-5
    assert snapshot.node_log_mass[level][node] == np.float32(np.log(np.float32(weights.sum())))


def check_lists(snapshot, model, alive):
    popular = snapshot.item_ids(snapshot.popular_rows)
    assert popular == sorted(alive, key=lambda i: (-weight_of(i), item_key(i)))[: live_rows.MAX_LISTED_ROWS]
    newest = snapshot.item_ids(snapshot.newest_rows)

    def age(item_id):
        return (seconds_of(alive[item_id].facts), model.items[item_id].seen)

    assert newest == sorted(alive, key=age, reverse=True)[: live_rows.MAX_LISTED_ROWS]


def arrays_of(snapshot: CatalogueSnapshot) -> list[np.ndarray]:
    """Every array that a reader may hold."""
    names = [name for name in snapshot.rows.__dataclass_fields__ if not name.endswith(("_table", "expiries"))]
    rows = [getattr(snapshot.rows, name) for name in ("vectors", "scales", *names)]
    tries = [getattr(snapshot.trie, name) for name in snapshot.trie.__dataclass_fields__]
    flat = [array for value in tries for array in (value if isinstance(value, tuple) else (value,))]
    return [
        *rows,
        *flat,
        # Only entries of the vector table that the trie refers to must stay the same.
        snapshot.rows.vector_table[snapshot.trie.leaf_rows],
        snapshot.rows.scale_table[snapshot.trie.leaf_rows],
        snapshot.rows.expiries.rows,
        snapshot.rows.expiries.expires_at,
        snapshot.text,
        snapshot.index.compacted().keys,
        snapshot.index.compacted().rows,
        snapshot.row_alive,
        snapshot.popular_rows,
        snapshot.newest_rows,
    ]


def check_against_scratch(snapshot: CatalogueSnapshot):
    """Require of a snapshot what one built from its rows alone has, byte for byte."""
    store = store_of(snapshot)
    scratch = live_rows.build_live_rows(store, snapshot.row_alive, snapshot.codebook_sizes)
    assert snapshot.popular_rows.tolist() == scratch.popular.tolist()
    assert snapshot.newest_rows.tolist() == scratch.newest.tolist()
    for field in fields(scratch.trie):
        got, wanted = getattr(snapshot.trie, field.name), getattr(scratch.trie, field.name)
        if field.name == "leaf_rows":  # a mean may lie anywhere in the table
            got = (np.maximum(got, -1), *(table[got] for table in tables_of(snapshot.rows)))
            wanted = (np.maximum(wanted, -1), *(table[wanted] for table in tables_of(store.rows())))
        for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, wanted)), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other, err_msg=field.name)


def tables_of(rows):
    return rows.vector_table, rows.scale_table
