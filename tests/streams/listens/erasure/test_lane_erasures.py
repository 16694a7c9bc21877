"""Erasures in the lane, on an in-memory Kafka: what is erased, in any order and after crashes, and the sweep."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import block_key, block_prefix, describe, erase, fold, history, is_erased
from sidestream.models.history.blocks import KEY_MARK
from sidestream.streams.contracts.decode import decode_listen, decode_user_erasure
from sidestream.streams.listens.batch import ListenBatch
from sidestream.streams.listens.erasure import sweep as sweeping
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.requests import SWEPT_HEADER, Requests
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.fake_kafka import NOW_MS, FakeConsumer, FakeKafka
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import (
    GUARANTEES,
    IDENTITY,
    LANE,
    PARTITIONS,
    TABLE,
    changelog,
    done,
    has_overlay,
    lookup,
)

FIRST_AT = NOW_MS - 10_000  # of listen 0; `FakeKafka.listen` puts a millisecond between two
DAY_MS = 86_400_000


class Scene:
    """A lane with erasures, and its counters."""

    def __init__(self, kafka: FakeKafka, folder: Path, guarantee: str, now_ms: int = NOW_MS, **options) -> None:
        self.kafka, self.counts, self.table = kafka, LaneCounts(), UserTable(folder, IDENTITY, TABLE)
        lane_settings = LANE.model_copy(update={"guarantee": guarantee, "erasure_sweep_s": 0.001, **options})
        sweep = Sweep("listens", "erasures", kafka, lane_settings, lambda: now_ms, asyncio.get_running_loop().time)
        self.feed = ErasureFeed("erasures", kafka, decode_user_erasure, sweep)
        self.lane = ListenLane(
            kafka,
            kafka,
            self.table,
            decode_listen,
            lookup,
            lane_settings,
            self.counts,
            erasures=self.feed,
        )

    async def __aenter__(self) -> "Scene":
        await self.lane.on_assigned(PARTITIONS)
        await self.feed.on_assigned(PARTITIONS)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.feed.on_revoked(PARTITIONS)
        await self.lane.on_revoked(PARTITIONS)
        self.kafka.offsets.update(self.lane.committable())
        self.kafka.erasure_offsets.update(self.feed.committable())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not self.kafka.crashes and not condition():
                await asyncio.sleep(0.001)

    def is_drained(self) -> bool:
        """Whether all listens and requests are durable; the sweep's own tombstones may still follow."""
        asked = [(p, r.offset) for p in PARTITIONS for r in self.kafka.visible("erasures", p)]
        applied = self.feed.next_offsets
        return (
            self.lane._all_ready.is_set()
            and all(done(self.kafka, self.lane).get(p, 0) == self.kafka.end("listens", p) for p in PARTITIONS)
            and all(applied.get(p, 0) > offset for p, offset in asked)
            and not has_overlay(self.lane)
        )

    async def drained(self) -> None:
        await self.until(self.is_drained)


def ask(kafka: FakeKafka, partition: int, user: str, at: int) -> None:
    value = json.dumps({"erasure_id": "r", "user_id": user, "at": at}).encode()
    kafka.append("erasures", partition, user.encode(), value)


def expected(kafka: FakeKafka) -> dict[bytes, bytes]:
    """The fold of all listens after all erasures; the lane's order gives the same entries but other event ids."""
    states: dict[bytes, bytes] = {}
    for p in PARTITIONS:
        for record in kafka.logs["erasures", p]:
            states[record.key] = erase(states.get(record.key), json.loads(record.value)["at"])
        for record in kafka.logs["listens", p]:
            listen = decode_listen(record.key, record.value, record.timestamp)
            states[record.key] = fold(states.get(record.key), [(record.offset, listen)], lookup).state
    return states


def lasting(states: dict[bytes, bytes | None]) -> dict[bytes, tuple]:
    """The part of the states that does not depend on when an erasure was applied."""
    words = {user: describe(state) for user, state in states.items() if state and user[:1] != KEY_MARK}
    return {
        user: ([(e["item_key"], e["at"], e["sid"]) for e in w["history"]], w["watermarks"], w.get("erased_at"))
        for user, w in words.items()
    }


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_an_erased_user_is_unknown_to_readers_and_late_listens_do_not_come_back(tmp_path, guarantee):
    kafka = FakeKafka()
    for number in range(8):
        kafka.listen(0, f"u{number % 2}", number)
    async with Scene(kafka, tmp_path, guarantee) as scene:
        await scene.drained()
        full = scene.lane.read(0, "u0")
        ask(kafka, 0, "u0", FIRST_AT + 7)
        await scene.until(lambda: scene.lane.read(0, "u0") != full)
        assert is_erased(scene.lane.read(0, "u0"))
        kafka.listen(0, "u0", 7)
        await scene.drained()
        assert is_erased(scene.lane.read(0, "u0"))
        kafka.listen(0, "u0", 8)
        await scene.drained()
        assert len(describe(scene.lane.read(0, "u0"))["history"]) == 1
        assert len(describe(scene.lane.read(0, "u1"))["history"]) == 4
        assert (scene.counts.erased_users, scene.counts.refused_listens) == (1, 1)
    assert lasting(changelog(kafka)) == lasting(expected(kafka))
    assert kafka.erasure_offsets[0] == 1
    assert not kafka.crashes


@settings(max_examples=20, deadline=None)
@given(
    events=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=60),
    crashes=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=3),
    guarantee=st.sampled_from(GUARANTEES),
    seed=st.integers(0, 60),
)
def test_any_interleaving_and_any_crash_gives_the_same_state(events, crashes, guarantee, seed):
    async def scenario(folder: Path) -> None:
        kafka = FakeKafka()
        pieces = [events[: seed % len(events)], events[seed % len(events) :]]
        for number, (steps, lose_table) in enumerate([*crashes, (None, False)]):
            for is_request, user, at in pieces.pop() if pieces else ():
                if is_request:
                    ask(kafka, user % 2, f"u{user}", FIRST_AT + at)
                else:
                    kafka.listen(user % 2, f"u{user}", at)
            kafka.acks_left = steps
            async with Scene(kafka, folder / str(number if lose_table else "kept"), guarantee) as scene:
                await scene.drained()
            kafka.crashes.clear()
        # Requests resume at the offset of the last process; without an offset all are read again.
        kafka.erasure_offsets.clear()
        async with Scene(kafka, folder / "kept", guarantee) as scene:
            await scene.drained()
            users = {f"u{user}": user % 2 for _, user, _ in events}
            read = {user.encode(): scene.lane.read(partition, user) for user, partition in users.items()}
        assert lasting(read) == lasting(changelog(kafka))
        found, wanted = lasting(read), lasting(expected(kafka))
        assert found.keys() == wanted.keys()
        for user, (heard, watermarks, erased_at) in wanted.items():
            assert found[user][1:] == (watermarks, erased_at)
            # An erasure removes event ids: a duplicate of a later listen may then be folded twice.
            assert set(found[user][0]) == set(heard)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_malformed_requests_go_to_the_dead_letters_with_their_offset(tmp_path, guarantee):
    kafka = FakeKafka()
    kafka.append("erasures", 1, b"u1", b"{broken")
    ask(kafka, 1, "u1", NOW_MS + DAY_MS)
    kafka.append("erasures", 1, None, None)
    async with Scene(kafka, tmp_path, guarantee) as scene:
        await scene.drained()
        assert dict(scene.counts.bad_by_reason) == {"not_json": 1, "absurd_time": 1, "key_mismatch": 1}
    letters = [dict(record.headers) for record in kafka.visible("erasures.dlq", 1)]
    assert [int(letter["__streams.errors.offset"]) for letter in letters] == [0, 1, 2]
    assert kafka.erasure_offsets[1] == 3
    assert changelog(kafka) == {}


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_null_ends_an_erasure_and_deletes_everywhere(tmp_path, guarantee):
    kafka = FakeKafka()
    kafka.listen(0, "u", 0)
    ask(kafka, 0, "u", FIRST_AT)
    async with Scene(kafka, tmp_path, guarantee) as scene:
        await scene.drained()
        assert is_erased(scene.lane.read(0, "u"))
        publish, release, at_work = scene.lane._writer.publish, asyncio.Event(), asyncio.Event()

        async def slow(batch):
            at_work.set()
            await release.wait()
            return await publish(batch)

        scene.lane._writer.publish = slow  # type: ignore[method-assign]
        kafka.append("erasures", 0, b"u", None)
        await at_work.wait()
        # Deleted, not merely absent from the overlay: the table still has it.
        assert scene.table.get(0).get(b"u") is not None
        assert scene.lane.read(0, "u") is None
        release.set()
        await scene.drained()
        assert scene.table.get(0).get(b"u") is None
    assert changelog(kafka) == {b"u": None}


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_the_sweep_removes_watermarks_once_the_source_holds_nothing_older(tmp_path, guarantee):
    kafka = FakeKafka()
    for number in range(12):
        kafka.listen(number % 2, f"u{number % 4}", number)
    for user in range(3):
        ask(kafka, user % 2, f"u{user}", FIRST_AT + 20)
    async with Scene(kafka, tmp_path, guarantee, erasure_keep_days=0, now_ms=NOW_MS + DAY_MS) as scene:
        await scene.drained()
        await scene.until(lambda: kafka.steps.count("end of listens") > 3)
        assert all(is_erased(scene.lane.read(user % 2, f"u{user}")) for user in range(3))
        kafka.log_starts["listens", 0] = kafka.end("listens", 0)
        kafka.logs["listens", 0].clear()
        await scene.until(lambda: scene.counts.forgotten_users == 2)
        assert [scene.lane.read(user % 2, f"u{user}") is None for user in range(4)] == [True, False, True, False]
        assert is_erased(scene.lane.read(1, "u1"))
        await scene.drained()
    ended = {record.key: record for record in kafka.visible("erasures", 0) if record.value is None}
    assert set(ended) == {b"u0", b"u2"}
    assert all(name == SWEPT_HEADER for record in ended.values() for name, _ in record.headers)
    assert {user for user, state in changelog(kafka).items() if state is None} == {b"u0", b"u2"}
    assert not kafka.crashes


async def test_watermarks_are_kept_for_the_minimum_time(tmp_path):
    kafka = FakeKafka()
    ask(kafka, 0, "u", FIRST_AT)
    async with Scene(kafka, tmp_path, "exactly_once", erasure_keep_days=1, now_ms=FIRST_AT + DAY_MS) as scene:
        await scene.drained()
        steps = len(kafka.steps)
        await scene.until(lambda: kafka.steps[steps:].count("end of listens") > 3)
        assert is_erased(scene.lane.read(0, "u"))
    async with Scene(kafka, tmp_path, "exactly_once", erasure_keep_days=1, now_ms=FIRST_AT + DAY_MS + 1) as scene:
        await scene.until(lambda: scene.counts.forgotten_users == 1)
        assert scene.lane.read(0, "u") is None


@pytest.mark.parametrize(
    ("guarantee", "steps"), [*(("exactly_once", n) for n in range(8)), *(("at_least_once", n) for n in range(2))]
)
async def test_a_sweep_that_crashes_anywhere_is_finished_by_the_next(tmp_path, guarantee, steps):
    kafka = FakeKafka()
    ask(kafka, 0, "u", FIRST_AT)
    later = {"erasure_keep_days": 0, "now_ms": NOW_MS}
    async with Scene(kafka, tmp_path, guarantee) as scene:
        await scene.drained()
    kafka.acks_left = steps
    async with Scene(kafka, tmp_path, guarantee, **later) as scene:
        await scene.until(lambda: scene.counts.forgotten_users == 1)
    assert kafka.crashes
    kafka.acks_left = None
    kafka.crashes.clear()
    async with Scene(kafka, tmp_path, guarantee, **later) as scene:
        await scene.until(lambda: scene.lane.is_ready(0) and scene.lane.read(0, "u") is None)
        await scene.drained()
    assert changelog(kafka) == {b"u": None}
    assert [record.value for record in kafka.visible("erasures", 0)][-1] is None


async def test_the_sweep_waits_for_listens_that_are_not_read(tmp_path, monkeypatch):
    kafka = FakeKafka()
    kafka.log_starts["listens", 0] = 60
    ask(kafka, 0, "u", FIRST_AT)
    async with Scene(kafka, tmp_path, "exactly_once") as scene:
        await scene.drained()
    for number in range(200):
        kafka.listen(0, "v", number)
    kafka.listen(0, "u", 0)
    monkeypatch.setattr(FakeConsumer.getmany, "__kwdefaults__", {"timeout_ms": 0, "max_records": 5})
    async with Scene(kafka, tmp_path, "exactly_once", erasure_keep_days=0) as scene:
        await scene.drained()
        assert scene.counts.refused_listens == 1
        rounds = kafka.steps.count("end of listens")
        await scene.until(lambda: kafka.steps.count("end of listens") > rounds + 2)
        # Now it is folded, but the source still holds it.
        assert is_erased(scene.lane.read(0, "u"))
        assert scene.counts.forgotten_users == 0


async def test_a_partition_that_waits_for_its_listens_does_not_hold_up_the_sweep_of_others(tmp_path):
    kafka = FakeKafka()
    kafka.listen(0, "v", 0)
    for user, partition in (("u0", 0), ("u1", 1)):
        ask(kafka, partition, user, FIRST_AT)
    async with Scene(kafka, tmp_path, "exactly_once") as scene:
        await scene.drained()
        keep_nothing = LANE.model_copy(update={"erasure_keep_days": 0})
        sweep = Sweep("listens", "erasures", kafka, keep_nothing, lambda: NOW_MS, asyncio.get_running_loop().time)
        for partition in PARTITIONS:
            sweep.add(partition, scene.table.get(partition))
        sweep.start_rounds()
        await scene.until(lambda: sweep.start_rounds() or all(sweep.has_page(p) for p in PARTITIONS))
        assert sweep.step(0, 1, 0) == []
        assert [removal.batch.partition for removal in sweep.step(1, 0, 0)] == [1, 1]
        assert (sweep.has_page(0), sweep.has_page(1)) == (True, False)
        await sweep.close()


async def test_a_sweep_is_postponed_when_kafka_does_not_answer(tmp_path, monkeypatch, caplog):
    kafka = FakeKafka()
    ask(kafka, 0, "u", FIRST_AT)
    answers = iter([KafkaError("no"), TimeoutError()])
    look = sweeping.Sweep._read_sources

    async def shaky(sweep, partitions):
        for refusal in answers:
            raise refusal
        return await look(sweep, partitions)

    monkeypatch.setattr(sweeping.Sweep, "_read_sources", shaky)
    async with Scene(kafka, tmp_path, "exactly_once", erasure_keep_days=0) as scene:
        await scene.until(lambda: scene.counts.forgotten_users == 1)
    assert caplog.text.count("erasures are swept later") == 2
    assert not kafka.crashes


async def test_pages_cover_all_users(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "PAGE_ROWS", 3)
    kafka = FakeKafka()
    for user in range(11):
        ask(kafka, 0, f"u{user}", FIRST_AT)
    async with Scene(kafka, tmp_path, "exactly_once") as scene:
        await scene.drained()
    async with Scene(kafka, tmp_path, "exactly_once", erasure_keep_days=0) as scene:
        await scene.until(lambda: scene.counts.forgotten_users == 11)
        assert list(scene.table.get(0).items()) == []


async def test_requests_of_a_recreated_topic_are_read_from_its_beginning(tmp_path):
    kafka = FakeKafka()
    kafka.erasure_offsets[0] = 40
    ask(kafka, 0, "u", FIRST_AT)
    with capture_logs() as lines:
        async with Scene(kafka, tmp_path, "exactly_once") as scene:
            await scene.drained()
            assert is_erased(scene.lane.read(0, "u"))
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert (line["topic"], line["committed"], line["end"]) == ("erasures", 40, 1)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_blocks_of_an_erased_user_are_removed_and_later_ones_stay(tmp_path, guarantee):
    kafka = FakeKafka()
    for number in range(200):
        kafka.listen(0, f"u{number % 2}", number)
    prefix = block_prefix(b"u0")
    async with Scene(kafka, tmp_path, guarantee, history_events=512) as scene:
        await scene.drained()
        table = scene.table.get(0)
        full, others = dict(table.scan(prefix)), dict(table.scan(block_prefix(b"u1")))
        assert full
        ask(kafka, 0, "u0", FIRST_AT + 200)
        await scene.until(lambda: scene.counts.erased_users == 1)
        await scene.drained()
        assert is_erased(scene.lane.read(0, "u0"))
        assert list(table.scan(prefix)) == []
        assert {key: value for key, value in changelog(kafka).items() if key in full} == dict.fromkeys(full)
        # Possibly in one batch with later listens, which fill the same slots again.
        ask(kafka, 0, "u1", FIRST_AT + 200)
        for number in range(201, 300):
            kafka.listen(0, "u1", number)
        await scene.until(lambda: scene.counts.erased_users == 2)
        await scene.drained()
        state, blocks = table.history(b"u1")
        assert state == scene.lane.read(0, "u1")
        assert [event.at - FIRST_AT for event in history(state, blocks)] == list(range(201, 300))
        assert dict(table.scan(block_prefix(b"u1"))).keys() & others.keys()
    left = {key for key, value in changelog(kafka).items() if value is not None}
    assert left == {b"u0", b"u1", *(block_key(b"u1", slot) for slot in blocks)}


def test_blocks_are_removed_before_the_state_and_rewritten_in_the_same_batch():
    folded = fold(None, [(n, at_time(n)) for n in range(90)], lookup, 512)
    batch = ListenBatch(0, 90, decode_listen, 512)
    batch.erase(Requests("erasures", 1, {b"u": [FIRST_AT + 89]}), {b"u": folded.blocks})
    values = [at_time(n) for n in range(90, 180)]
    batch._listens[b"u"] = list(enumerate(values, start=90))
    for pieces in batch.pieces(32, 20):
        batch.fold(pieces, [folded.state] * len(pieces), lookup)
    changes = batch.result().values
    assert list(changes)[-1] == b"u"
    slots = {slot: value for slot in folded.blocks if (value := changes[block_key(b"u", slot)]) is not None}
    assert slots
    assert [event.at - FIRST_AT for event in history(changes[b"u"], slots)] == list(range(90, 180))


def at_time(number: int) -> ListenRow:
    return ListenRow(event_id=f"e{number}", user_id="u", item_id=f"i{number % 7}", at=FIRST_AT + number)
