from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.history import fold, view
from sidestream.models.records import Listen
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.demo.judging import ListenHistory
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.tokenizer.sid import item_key
from tests.models.recommend.recommending import VERSION, Shelf
from tests.streams.demo.published import T, erasure, heard


def history_of(*records):
    history = ListenHistory(Limits())
    for record in records:
        history.take(record)
    return history


def test_a_state_holds_what_was_published_up_to_its_watermark():
    history = history_of(heard("a", 3), heard("x", 4, user="other"), heard("b", 7))
    found = [history.recent("u", watermark) for watermark in (-1, 2, 3, 6, 7)]
    assert found == [set(), set(), {"a"}, {"a"}, {"a", "b"}]
    assert [history.covers("u", watermark) for watermark in (-1, 3, 7, 8)] == [True, True, True, False]
    assert history.covers("unknown", -1)
    # Its partition was read up to there, and holds no listen of it.
    assert history.covers("unknown", 0)
    assert not ListenHistory(Limits()).covers("unknown", 0)


def test_a_listener_is_covered_by_its_own_partition():
    history = history_of()
    history.begin({partition: 10 for partition in range(8)})
    # By the default partitioner `a` is in 4 of 8, and `user-1` too; `u42` is in 7.
    history.take(heard("i", 12, user="a", partition=4))
    assert [history.covers(user, 12) for user in ("a", "user-1", "u42")] == [True, True, False]
    assert [history.covers("u42", watermark) for watermark in (9, 10)] == [True, False]


def test_a_state_is_the_listeners_own_at_each_of_its_listens():
    repeat, bad = heard("b", 6, event="e3"), TopicRecord(0, 7, -1, b"u", b"{}", ())
    history = history_of(heard("a", 3), heard("x", 4, user="other"), heard("b", 5), repeat, bad)
    history.erase(erasure(T + 4))
    own = [watermark for watermark in range(-1, 10) if history.is_own("u", watermark)]
    assert own == [-1, 3, 5, 6]
    assert [watermark for watermark in range(-1, 10) if history.is_own("stranger", watermark)] == [-1]


def test_offsets_of_states_that_may_come_again_are_kept():
    history = history_of(*(heard("a", n, user=user) for n, user in enumerate("uvuvuv")))
    assert history.is_own("u", 2)
    assert not history.is_own("u", 5)
    history.forget_past()
    assert [watermark for watermark in range(6) if history.is_own("u", watermark)] == [2, 4]
    assert [watermark for watermark in range(6) if history.is_own("v", watermark)] == [1, 3, 5]


def test_a_dead_letter_and_a_repeat_are_in_no_state():
    bad = TopicRecord(0, 1, -1, b"u", b"{}", ())
    history = history_of(heard("a", 0), bad, heard("b", 2, event="e0"))
    assert history.recent("u", 2) == {"a"}
    assert history.covers("u", 2)


def test_what_was_erased_is_in_no_state():
    history = history_of(heard("a", 0), heard("b", 1))
    history.erase(erasure(T))
    history.erase(erasure(T - 5))
    history.erase(TopicRecord(0, 2, -1, b"u", None, ()))
    history.erase(TopicRecord(0, 3, -1, b"u", b"?", ()))
    assert history.recent("u", 1) == {"b"}


def test_forgetting_the_past_keeps_what_a_later_state_holds():
    history = history_of(*(heard(f"i{n}", n) for n in range(120)))
    history.forget_past()
    assert history.recent("u", 119) == {f"i{n}" for n in range(70, 120)}
    assert history.recent("u", 80) <= {f"i{n}" for n in range(31, 81)}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 40)), max_size=120), st.integers(-1, 120))
def test_it_holds_what_the_workers_fold_holds_at_every_watermark(listens, watermark):
    records = [heard(f"i{item}", offset, at=T + at) for offset, (item, at) in enumerate(listens)]
    history = history_of(*records)
    shelf = Shelf()
    for item in range(81):
        shelf.put(f"i{item}")
    snapshot = shelf.snapshot()
    folded = [(record.offset, Listen.from_json(record.value)) for record in records if record.offset <= watermark]
    state = fold(None, folded, snapshot.stored_sid).state if folded else None
    keys = set(view(state, snapshot, VERSION).item_keys.tolist())
    assert {item_key(item_id) for item_id in history.recent("u", watermark)} == keys
