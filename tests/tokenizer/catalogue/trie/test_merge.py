"""Merges among thousands of items, with production constants, equal builds from scratch."""

import numpy as np
import pytest

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from tests.tokenizer.catalogue import catalogue_model as cm

DIM = 16


class World:
    """Items that come, move and go, most of them below a few prefixes."""

    def __init__(self, sizes, seed):
        self.sizes, self.rng, self.num_items, self.order = sizes, np.random.default_rng(seed), 0, 0
        self.catalogue = Catalogue("v1", sizes, DIM, self.vectorize, x_dim=DIM)

    @staticmethod
    def vectorize(item_ids, codes, x):
        return x + codes[:, :1], np.sqrt(
            [1.0 + int(item_id[1:]) ** 2 % 9_973 for item_id in item_ids], dtype=np.float32
        )

    def upsert(self, number):
        self.order += 1
        sid = tuple(min(int(self.rng.geometric(4 / size)), size) - 1 for size in self.sizes)
        return CatalogueUpdate(f"i{number}", self.order, ItemFacts(), sid, self.rng.bytes(DIM), 0.01)

    def remove(self, number):
        self.order += 1
        return CatalogueUpdate(f"i{number}", self.order)

    def add(self, count):
        self.num_items += count
        return [self.upsert(number) for number in range(self.num_items - count, self.num_items)]

    def some(self, count):
        return self.rng.choice(self.num_items, count, replace=False).tolist()


@pytest.mark.parametrize("sizes", [(300,), (24, 600), (8, 12, 300), (6, 4, 8, 40)])
def test_merges_equal_builds(sizes):
    world = World(sizes, 7)
    world.catalogue.apply(world.add(4_000))
    cm.check_against_scratch(world.catalogue.snapshot())
    carried = 0
    for step in range(8):
        changes = world.add(60) + [world.upsert(number) for number in world.some(40)]
        changes += [world.remove(number) for number in world.some(400 if step == 5 else 40)]
        world.catalogue.apply(changes)
        cm.check_against_scratch(world.catalogue.snapshot())
        carried += sum(level.nodes.size for level in world.catalogue._live_rows.sums)
    assert (carried > 0) == (len(sizes) > 1)


def test_sums_are_rebuilt_where_a_prefix_crosses_a_bound():
    world = World((2, 4_000), 3)
    numbers = list(range(700))
    size = 0
    for wanted in (300, 256, 257, 255, 700, 2, 1, 0, 1, 260, 15, 16, 513):
        changed = numbers[size:wanted] if wanted > size else numbers[wanted:size]
        world.order += 1
        facts = ItemFacts() if wanted > size else None
        world.catalogue.apply(
            [
                CatalogueUpdate(f"i{n}", world.order, facts, facts and (0, n), facts and world.rng.bytes(DIM), 0.01)
                for n in changed
            ]
        )
        size = wanted
        snapshot = world.catalogue.snapshot()
        assert snapshot.num_items == size
        cm.check_against_scratch(snapshot)
