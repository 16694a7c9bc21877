import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from sidestream.tokenizer.catalogue.eligibility import without_rows

SIZES = (3, 4, 3)


def snapshot_of(sids):
    def vectorize(item_ids, codes, x):
        return x, np.ones(len(item_ids), np.float32)

    catalogue = Catalogue("tok", SIZES, 2, vectorize, x_dim=2)
    catalogue.apply([CatalogueUpdate(f"i{n}", n, ItemFacts(), sid, b"\1\2", 1.0) for n, sid in enumerate(sids)])
    catalogue.apply([CatalogueUpdate(f"i{n}", None) for n in range(0, len(sids), 7)])
    return catalogue.snapshot()


SIDS = st.lists(st.tuples(*(st.integers(0, size - 1) for size in SIZES)), min_size=1, max_size=60)


@given(SIDS, st.data())
@settings(deadline=None)
def test_taking_rows_out_equals_compiling_the_mask_without_them(sids, data):
    snapshot = snapshot_of(sids)
    some_rows = st.lists(st.integers(0, len(sids) - 1))
    mask = np.ones(len(sids), bool)
    mask[data.draw(some_rows)] = False
    rules = snapshot.eligibility(item_mask=mask)
    before = [rules.item.copy(), *(nodes.copy() for nodes in rules.nodes)]
    rows = np.array(data.draw(some_rows), np.int32)
    leaves = snapshot.leaf_of_sid(snapshot.codes_of_rows(rows))
    taken = without_rows(rules, snapshot.trie, rows, leaves)
    mask[rows] = False
    expected = snapshot.eligibility(item_mask=mask)
    assert taken.item.tolist() == expected.item.tolist()
    assert [nodes.tolist() for nodes in taken.nodes] == [nodes.tolist() for nodes in expected.nodes]
    # The rules are shared by all requests of a snapshot.
    for kept, was in zip([rules.item, *rules.nodes], before, strict=True):
        assert kept.tolist() == was.tolist()
