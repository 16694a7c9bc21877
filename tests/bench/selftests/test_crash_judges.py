"""What the crash matrix expects of erased users and of counts, and that it sees what is wrong with either."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.data.rows import ListenRow
from sidestream.models.history.blocks import block_prefix, slot_of
from sidestream.streams.contracts.decode import decode_listen, decode_user_erasure
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.batch import ListenBatch
from sidestream.streams.listens.erasure.requests import read_requests
from sidestream.streams.popularity.partition_changes import CountTopics, PartitionChanges, Published
from sidestream.streams.popularity.range_totals import RangeTotals
from sidestream.streams.popularity.values import CountedPart, read_part
from sidestream.tokenizer.popularity import Counts
from tests.bench.matrix.judging.counts import DECAY, CountsJudge
from tests.bench.matrix.judging.users import HISTORY_EVENTS, Users
from tests.bench.matrix.load import erasure, listens

USER = b"user-1"
NOW_MS = 1_790_000_000_000


def lookup(item):
    return None


def listen(number, at=None):
    return ListenRow(event_id=f"e{number}", user_id="user-1", item_id=f"i{number % 7}", at=at or 1_000 + number)


def record(offset, value):
    return SimpleNamespace(offset=offset, key=USER, value=value, timestamp=NOW_MS, headers=())


class Lane:
    """One user in a lane that takes batches as it is told, and its changelog."""

    def __init__(self):
        self.table, self.changelog = {}, []

    def batch(self, records, ats):
        batch = ListenBatch(0, 0, lambda key, value, at: value, HISTORY_EVENTS)
        batch.add([record(offset, row) for offset, row in records])
        if ats:
            asked = [record(number, SimpleNamespace(at=at)) for number, at in enumerate(ats)]
            requests = read_requests("erasures", asked, lambda key, value, at: value)
            prefix = block_prefix(USER)
            batch.erase(requests, {USER: {slot_of(k): v for k, v in self.table.items() if k.startswith(prefix)}})
        for pieces in batch.pieces(32, 128):
            batch.fold(pieces, [self.table.get(piece.user) for piece in pieces], lookup)
        for key, value in batch.result().values.items():
            self.changelog.append((key, value))
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value


def expected(lane, log, ats):
    users = Users()
    for key, value in lane.changelog:
        users.see(key, value)
    users.fold(USER, log, ats, lookup)
    return users.entries


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(0, 4), st.integers(1, 40))
def test_judge_knows_erasures_wherever_the_lane_took_them(seed, count, num_erasures, size):
    rng, lane = random.Random(seed), Lane()
    log = [(offset, listen(offset, 1_000 + offset - rng.choice((0, 0, 0, 60)))) for offset in range(count)]
    ats = [1_000 + rng.randrange(count + 20) for _ in range(num_erasures)]
    waiting = list(ats)
    for first in range(0, count, size):
        taken = [waiting.pop(0) for _ in range(rng.randint(0, len(waiting)))]
        lane.batch(log[first : first + size], taken)
    lane.batch([], waiting)
    assert expected(lane, log, ats) == lane.table
    if ats:
        assert expected(lane, log, [*ats, max(ats) + 1]) != lane.table, "one that was forgotten"
        assert expected(lane, log, []) != lane.table, "one that nobody asked for"


def test_judge_folds_on_from_what_it_knew_at_the_last_comparison():
    lane, users, log = Lane(), Users(), [(offset, listen(offset)) for offset in range(120)]
    for first, ats in ((0, []), (40, [1_010]), (80, [1_070])):
        seen = len(lane.changelog)
        lane.batch(log[first : first + 40], ats)
        for key, value in lane.changelog[seen:]:
            users.see(key, value)
        users.fold(USER, log[first : first + 40], ats, lookup)
        assert users.entries == lane.table


@pytest.fixture
def counted():
    """Counts of a partition as workers publish them, and a judge who heard the same listens."""
    judge, topics = CountsJudge(4), CountTopics("marks", 8, "changes", 4)
    changes = PartitionChanges(2, DECAY, topics, Published(0), 0)
    rows = []
    for offset, (key, value) in zip(range(2_000), listens("counts"), strict=False):
        try:
            rows.append((offset, decode_listen(key, value, NOW_MS)))
        except BadRecord:
            continue
        judge.hear(rows[-1][1])
    changes.add([rows], 2_000)
    *changed, mark = changes.take()
    ranges = {number: RangeTotals(DECAY, {}, 0) for number in range(4)}
    for record in changed:
        ranges[record.partition].add(0, read_part(record.value).counts)
    totals = [
        SimpleNamespace(partition=number, key=key, value=value)
        for number, found in ranges.items()
        for key, value in found.publish().items()
    ]
    return judge, mark, totals


def replace_total(record, more):
    """The same total, with another weight of its first item."""
    total = read_part(record.value)
    weights = total.counts.weights.copy()
    weights[0] += more
    counts = Counts(total.counts.landmark, total.counts.keys, weights)
    value = CountedPart(total.half_life_ms, total.offset, counts).to_bytes()
    return [SimpleNamespace(partition=record.partition, key=record.key, value=value)]


def test_judge_has_the_counts_of_the_workers_and_sees_each_wrong_one(counted):
    judge, mark, totals = counted
    assert not judge.is_whole({2: 2_000})
    judge.see_marks([mark])
    judge.see_totals(totals)
    assert judge.is_whole({2: 2_000})
    assert not judge.is_whole({2: 2_001})
    compared, wrong = judge.wrong()
    assert compared > 400
    assert wrong == []
    judge.hear(listen(1))
    more, (wrong,) = judge.wrong()
    assert more == compared + 1
    assert wrong.startswith("counts: item ")
    # It is missing, which is wrong under either guarantee; to have counted twice is not.
    assert judge.wrong(may_repeat=True) == (more, [wrong])
    judge.see_totals(replace_total(totals[0], 1.0))
    assert len(judge.wrong()[1]) == 2
    assert judge.wrong(may_repeat=True) == (more, [wrong])
    judge.see_totals(replace_total(totals[0], -1.0))
    assert len(judge.wrong(may_repeat=True)[1]) == 2
    with pytest.raises(ValueError, match="expected the mark of this partition"):
        judge.see_marks([SimpleNamespace(partition=3, key=b"2/offset", value=b"")])
    with pytest.raises(ValueError, match="total of part 0 of 256 in partition 3"):
        judge.see_totals([SimpleNamespace(partition=3, key=b"00", value=b"")])


def test_load_erases_users_and_one_request_in_ten_cannot_be_read():
    rng, bad = random.Random(1), 0
    for number in range(100):
        key, value = erasure(rng, number, 1_700_000_500_000)
        try:
            assert decode_user_erasure(key, value, NOW_MS).at <= 1_700_000_500_000
        except BadRecord:
            bad += 1
    assert bad == 10
