"""What the crash matrix expects of answers, and that it sees what is wrong with one."""

import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.data.rows import ListenRow
from sidestream.models.records import ItemSids, SessionStart
from sidestream.streams.contracts import partitioner
from tests.bench.matrix.judging.answers import AnswersJudge, Catalogues
from tests.bench.matrix.judging.users import Turns, Users, erased, folded
from tests.bench.matrix.recommending import HashTokenizer, pure_recommender

USER, PARTITIONS = "user-1", 4
KEY = USER.encode()
PLACE = partitioner.partition_of(KEY, PARTITIONS)
AT = 1_700_000_000_000


def listen(number, at=None, item=None):
    item = f"item-{number % 30}" if item is None else item
    return ListenRow(event_id=f"e{number}", user_id=USER, item_id=item, at=AT + number if at is None else at)


def no_sid(item):
    return None


def item_record(offset, number, *, removed=False, partition=0):
    name, tokenizer = f"item-{number}", HashTokenizer()
    value = {
        "item_id": name,
        "kind": "track",
        "title": name,
        "source_offset": offset,
        "versions": {
            tokenizer.version: {"sid": [number % 256, 1, 2], "vector": "AQEBAQEBAQE=", "vector_scale": 0.01},
        },
    }
    if not removed:
        ItemSids.from_json(json.dumps(value).encode())
    encoded = None if removed else json.dumps(value).encode()
    return SimpleNamespace(partition=partition, offset=offset, key=name.encode(), value=encoded)


@pytest.fixture
def catalogues():
    """Sixty items; one is removed and comes back."""
    found = Catalogues()
    found.add([item_record(number, number) for number in range(60)])
    found.add([item_record(60, 7, removed=True), item_record(61, 7)])
    return found


@pytest.fixture
def users():
    found = Users()
    found.fold(KEY, [(number, listen(number)) for number in range(5)], (), no_sid)
    return found


def start(number=1, **options):
    return SessionStart(session_id=f"s{number}", user_id=USER, at=AT, num_candidates=5, **options)


def answered(catalogues, users, asked, offsets=(62,), watermark=None):
    """The answer of the pure recommender."""
    states = [users.entries.get(KEY)] if watermark is None else users.turns_of(KEY).states(watermark, no_sid)
    return pure_recommender().recommend(asked, next(iter(states)), catalogues.at(offsets), AT)


def verdict(catalogues, users, asked, answer, key=KEY, partition=PLACE, value=None):
    judge = AnswersJudge(PARTITIONS)
    if asked is not None:
        judge.starts[asked.session_id] = asked
    record = SimpleNamespace(partition=partition, offset=3, key=key, value=value or answer.to_json())
    judge.add([record])
    return judge.judge(users, catalogues, no_sid), judge


@pytest.mark.parametrize("offsets", [(60,), (61,), (62,)])
@pytest.mark.parametrize("watermark", [0, 2, 4])
def test_right_answer_is_compared_whole(catalogues, users, offsets, watermark):
    answer = answered(catalogues, users, start(), offsets, watermark)
    wrong, judge = verdict(catalogues, users, start(), answer)
    assert wrong == []
    assert (judge.compared, judge.of_popularity, judge.answered) == (1, 0, {"s1": 1})


def test_answer_of_a_user_without_history_is_compared_as_a_set(catalogues, users):
    asked = SessionStart(session_id="s2", user_id="nobody", at=AT, num_candidates=5)
    answer = pure_recommender().recommend(asked, None, catalogues.at((62,)), AT)
    other_order = answer.model_copy(
        update={
            "candidates": tuple(
                one.model_copy(update={"item_id": two.item_id, "sid": two.sid})
                for one, two in zip(answer.candidates, reversed(answer.candidates), strict=True)
            )
        }
    )
    place = partitioner.partition_of(b"nobody", PARTITIONS)
    for right in (answer, other_order):
        wrong, judge = verdict(catalogues, users, asked, right, b"nobody", place)
        assert wrong == []
        assert (judge.compared, judge.of_popularity) == (0, 1)
    twice = answer.model_copy(update={"candidates": (answer.candidates[0],) * 5})
    assert "listed twice" in verdict(catalogues, users, asked, twice, b"nobody", place)[0][0]
    less = answer.model_copy(update={"candidates": answer.candidates[:4]})
    assert "expected 5 popular" in verdict(catalogues, users, asked, less, b"nobody", place)[0][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user_id": "user-2"}, "user: expected"),
        ({"candidate_set_id": "another"}, "id: expected"),
        ({"candidates": ()}, "expected 5 candidates, got 0"),
        ({"state_watermark": 77}, "no state with the watermark 77"),
        ({"state_watermark": 3}, "candidate 0: expected"),
        ({"discovery": "familiar"}, "discovery"),
        ({"requested_at": AT + 1}, "requested_at"),
        ({"page": 1}, "page"),
        ({"catalogue_offsets": (63,)}, "expected offsets of the catalogue"),
        ({"catalogue_offsets": None}, "expected offsets of the catalogue"),
        ({"model_version": "another"}, "model: expected"),
        ({"session_id": "s9"}, "nobody asked"),
    ],
)
def test_wrong_answer_is_seen(catalogues, users, changes, said):
    answer = answered(catalogues, users, start()).model_copy(update=changes)
    (wrong,), _ = verdict(catalogues, users, start(), answer)
    assert said in wrong


def test_wrong_place_of_an_answer_is_seen(catalogues, users):
    answer = answered(catalogues, users, start())
    assert "key: expected" in verdict(catalogues, users, start(), answer, key=b"user-2")[0][0]
    assert "partition: expected" in verdict(catalogues, users, start(), answer, partition=PLACE + 1)[0][0]
    assert "answer 0/3" in verdict(catalogues, users, start(), answer, partition=0, value=b"{")[0][0]


def test_candidates_of_another_history_or_catalogue_are_seen(catalogues, users):
    other = Users()
    other.fold(KEY, [(number, listen(number, item=f"item-{50 - number}")) for number in range(5)], (), no_sid)
    answer = answered(catalogues, other, start())
    assert "candidate 0: expected" in verdict(catalogues, users, start(), answer)[0][0]
    without = answered(catalogues, users, SessionStart(session_id="s1", user_id=USER, at=AT, num_candidates=200), (61,))
    asked = SessionStart(session_id="s1", user_id=USER, at=AT, num_candidates=200)
    wrong = without.model_copy(update={"catalogue_offsets": (62,)})
    assert verdict(catalogues, users, asked, without)[0] == []
    assert verdict(catalogues, users, asked, wrong)[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 3))
def test_states_of_batches_that_a_crash_undoes_are_known(seed, count, num_erasures):
    rng = random.Random(seed)
    log = [(offset, listen(offset, AT + offset - rng.choice((0, 0, 60)))) for offset in range(count)]
    ats = [AT + rng.randrange(count) for _ in range(num_erasures)]
    state, blocks, steps, first = None, {}, [], 0
    for at in ats:
        stop = rng.randint(first, count)
        steps += [log[first:stop], at]
        first = stop
    steps.append(log[first:])
    turns = Turns(None, {}, steps, frozenset(ats))
    # Durable up to some step; then a batch that takes an erasure first, perhaps, and is undone.
    taken = steps[: rng.randrange(len(steps) + 1)]
    for step in taken:
        state, blocks = erased(state, blocks, step) if isinstance(step, int) else folded(state, blocks, step, no_sid)
    heard = sum(len(step) for step in taken if not isinstance(step, int))
    left = log[heard : rng.randint(heard, count)]
    begun, then = erased(state, blocks, rng.choice(ats)) if rng.random() < 0.5 else (state, blocks)
    undone, _ = folded(begun, then, left, no_sid)
    assert undone in list(turns.states(left[-1][0] if left else heard - 1, no_sid))
