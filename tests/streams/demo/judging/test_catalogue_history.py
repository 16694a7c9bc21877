from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.demo.judging import CatalogueHistory
from sidestream.tokenizer.catalogue import Catalogue
from tests.streams.demo.published import VERSION, removal, upsert


def history_of(*records):
    history = CatalogueHistory()
    for record in records:
        history.take(record)
    return history


def held(history, item_id, *offsets):
    states = history.states(item_id, offsets)
    return bool(states) and states[-1].item is not None


def test_a_snapshot_holds_what_was_published_below_its_offset():
    history = history_of(upsert("a", 0), removal("a", 1), upsert("a", 2))
    assert [held(history, "a", end) for end in (0, 1, 2, 3, 9)] == [False, True, False, True, True]


def test_an_item_is_looked_up_in_its_own_partition():
    history = history_of(upsert("a", 5, partition=1), removal("a", 7, partition=1))
    assert [held(history, "a", 9, end) for end in (5, 6, 7, 8)] == [False, True, True, False]
    assert not held(history, "a", 9), "a partition that the set does not name holds nothing"


def test_an_older_catalogue_event_does_not_replace_a_newer_one():
    history = history_of(upsert("a", 0, event=5, title="new"), upsert("a", 1, event=3, title="old"))
    assert history.states("a", (2,))[0].item.title == "new"
    again = history_of(upsert("a", 0, event=5, revision=1), upsert("a", 1, event=5, title="older revision"))
    assert again.states("a", (2,))[0].item.title == ""


def test_a_set_can_be_judged_once_all_its_partitions_were_read_so_far():
    history = CatalogueHistory()
    history.begin({0: 0, 1: 4})
    assert history.covers((0, 4))
    assert not history.covers((1, 4))
    history.take(upsert("a", 0))
    assert history.covers((1, 4))
    assert not history.covers((1, 5))
    assert history.covers(None), "a set that names no snapshot waits for nothing"


def test_without_a_named_snapshot_every_state_so_far_counts():
    history = history_of(upsert("a", 0), removal("a", 1))
    assert [state.item is not None for state in history.states("a", None)] == [True, False]


def test_past_states_can_be_forgotten():
    history = history_of(upsert("a", 0), removal("a", 1), upsert("a", 2))
    history.forget_past()
    assert held(history, "a", 3)
    assert history.states("a", (1,)) == []
    assert [state["offset"] for state in history.of_items(["a"])["a"]] == [2]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(-1, 4), st.integers(0, 1), st.sampled_from((VERSION, "other"))),
        max_size=14,
    )
)
def test_it_holds_what_the_workers_catalogue_holds_at_every_offset(changes):
    decoder = UpdateDecoder(VERSION, (4, 4), 3)
    catalogue = Catalogue(VERSION, (4, 4), 3, lambda ids, codes, x: (x, codes[:, 0] + 1.0), x_dim=3)
    records = [
        removal(item, offset) if event < 0 else upsert(item, offset, event=event, revision=revision, version=version)
        for offset, (item, event, revision, version) in enumerate(changes)
    ]
    history = history_of(*records)
    for record in records:
        catalogue.apply([decoder.decode(record.key, record.value)])
        snapshot = catalogue.snapshot(source_offsets=(record.offset + 1,))
        alive = set(snapshot.item_ids(snapshot.bucket_rows))
        assert snapshot.source_offsets is not None
        for offsets in (snapshot.source_offsets, (record.offset + 1,)):
            states = {name: history.states(name, offsets) for name in "abc"}
            assert {name for name, found in states.items() if found and VERSION in found[0].sids} == alive
