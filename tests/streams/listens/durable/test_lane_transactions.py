"""Exactly once on an in-memory Kafka: order of steps, crashes at each step, zombies, broker errors, the setting."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)
from aiokafka.errors import TransactionalIdAuthorizationFailed as NotGranted
from aiokafka.producer import sender as aiokafka_sender
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.streams.contracts.deadletters import DeadLetter
from sidestream.streams.errors import LaneError, LaneFenced, LaneInterrupted, SettingsError
from sidestream.streams.kafka.clients import TRANSACTION_BACKOFF_S, Clients, KafkaSettings
from sidestream.streams.listens.durable import transactions
from sidestream.streams.listens.durable.guarantee import choose_guarantee, make_writer
from sidestream.streams.listens.durable.idempotent import IdempotentWriter
from sidestream.streams.listens.durable.transactions import ATTEMPTS, TransactionalWriter
from sidestream.streams.listens.durable.writer import DerivedRecord, FoldedBatch
from sidestream.streams.listens.restore import changelog as readers
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.pacing import Pacer
from tests.streams.listens.fake_kafka import FakeKafka, FakeProducer
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import (
    IDENTITY,
    LANE,
    PARTITIONS,
    TABLE,
    bad_records,
    changelog,
    dead_letters,
    drain,
    expected,
    fill,
    make_lane,
    run_to_end,
)


def changelog_keys(kafka: FakeKafka) -> set[str]:
    return {key.decode(errors="replace") for key in changelog(kafka)}


def make_writer_on(kafka: FakeKafka) -> TransactionalWriter:
    return TransactionalWriter("listens", "changelog", "group", kafka, 1_000, 10_000)


async def test_assignment_fences_before_it_reads_the_committed_offset_and_then_the_changelogs_end(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 20)
    await run_to_end(kafka, tmp_path)
    steps = ["fence group-listens-0", "fence group-listens-1", "committed", "end of changelog", "end of listens"]
    assert [step for step in dict.fromkeys(kafka.steps) if step in steps] == steps


async def test_one_batch_is_one_transaction_and_written_after_its_commit(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 6, users=1)
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned({0})
    async with asyncio.timeout(20):
        while kafka.offsets.get(0) != kafka.end("listens", 0):
            await asyncio.sleep(0.001)
    await lane.close()
    begun = kafka.steps.index("end of listens")
    steps = [step for step in kafka.steps[begun + 1 :] if not step.startswith("end of")]
    origin = ["send to changelog", "send offsets", "commit", "commit acknowledged"]
    assert steps == [
        *origin,
        "send to changelog",
        "send to listens.dlq",
        "send offsets",
        "commit",
        "commit acknowledged",
    ]


@settings(max_examples=15, deadline=None)
@given(
    crashes=st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=5),
    more=st.integers(1, 40),
    users=st.sampled_from([2, 9]),
)
def test_crashes_at_any_step_neither_lose_nor_duplicate_a_listen_or_a_dead_letter(crashes, more, users):
    async def scenario(folder: Path) -> None:
        kafka, counts = FakeKafka(), LaneCounts()
        fill(kafka, 130, users)
        for number, (steps, lose_table) in enumerate(crashes):
            kafka.acks_left = steps
            await run_to_end(kafka, folder / str(number if lose_table else "kept"), metrics=counts)
            kafka.crashes.clear()
            fill(kafka, more, users)
        kafka.acks_left = None
        assert await run_to_end(kafka, folder / "kept", metrics=counts) == expected(kafka) == changelog(kafka)
        assert await run_to_end(kafka, folder / "rebuilt", metrics=counts) == expected(kafka)
        assert dead_letters(kafka) == bad_records(kafka)
        assert counts.stale == 0

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@pytest.mark.parametrize("step", ["begin_transaction", "send_offsets_to_transaction", "commit_transaction"])
async def test_zombie_is_fenced_wherever_it_was_paused(tmp_path, monkeypatch, step):
    kafka = FakeKafka()
    fill(kafka, 30)
    paused, go_on, real = asyncio.Semaphore(0), asyncio.Event(), getattr(FakeProducer, step)

    async def pause(producer: FakeProducer, *args) -> None:
        paused.release()
        await go_on.wait()
        await real(producer, *args)

    zombie = make_lane(kafka, tmp_path / "zombie")
    with monkeypatch.context() as patch:
        patch.setattr(FakeProducer, step, pause)
        await zombie.on_assigned(PARTITIONS)
        for _ in PARTITIONS:
            await paused.acquire()
    # Its session has expired: another worker got the partitions, and the zombie does not know.
    assert await run_to_end(kafka, tmp_path / "new-owner") == expected(kafka)
    go_on.set()
    async with asyncio.timeout(10):
        while not kafka.crashes:
            await asyncio.sleep(0.001)
    assert isinstance(kafka.crashes[0], LaneFenced)
    assert "another worker has taken over the partition" in str(kafka.crashes[0])
    await zombie.on_revoked(PARTITIONS)
    kafka.crashes.clear()
    fill(kafka, 30)
    assert await run_to_end(kafka, tmp_path / "zombie") == expected(kafka) == changelog(kafka)
    assert dead_letters(kafka) == bad_records(kafka)


async def test_a_long_pause_is_harmless_while_we_own_the_partitions(tmp_path):
    kafka = FakeKafka()
    times = iter([0.0])
    fill(kafka, 30)
    assert await run_to_end(kafka, tmp_path, clock=lambda: next(times, 100.0)) == expected(kafka)


async def test_retriable_error_is_aborted_and_retried(tmp_path):
    kafka = FakeKafka()
    kafka.refusals = [NotEnoughReplicasError() for _ in range(ATTEMPTS - 1)]
    fill(kafka, 100)
    assert await run_to_end(kafka, tmp_path) == expected(kafka) == changelog(kafka)
    assert kafka.steps.count("abort") == ATTEMPTS - 1
    assert dead_letters(kafka) == bad_records(kafka)
    assert await run_to_end(kafka, tmp_path / "rebuilt") == expected(kafka)


async def test_a_retry_sends_all_of_its_batch_again():
    """Refused are batches of listens, with values, dead letters and counts; those of the start have neither."""
    kafka = FakeKafka()
    writer = make_writer_on(kafka)
    await writer.open(0)
    letters = [DeadLetter("listens.dlq", b"k", bytes([n]), [("h", b"1")]) for n in range(3)]
    batch = FoldedBatch(
        0,
        {b"u": b"1", b"v": None},
        letters,
        7,
        {"erasures": 4},
        [DerivedRecord("counts", 1, b"c", b"2")],
    )
    kafka.refusals = [NotEnoughReplicasError() for _ in range(ATTEMPTS - 1)]
    await writer.publish(batch)
    await writer.close(0)
    assert kafka.steps.count("abort") == ATTEMPTS - 1
    assert changelog(kafka) == batch.values
    assert [record.value for record in kafka.visible("listens.dlq", 0)] == [letter.value for letter in letters]
    assert [record[4:6] for record in kafka.visible("counts", 1)] == [(b"c", b"2")]
    assert (kafka.offsets, kafka.erasure_offsets) == ({0: 7}, {0: 4})


async def test_batches_of_a_running_lane_are_aborted_and_retried(tmp_path):
    kafka = FakeKafka()
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await asyncio.wait_for(lane._all_ready.wait(), 20)
    kafka.refusals = [NotEnoughReplicasError() for _ in range(ATTEMPTS - 1)]
    fill(kafka, 100)
    await drain(kafka, lane)
    await lane.close()
    assert kafka.steps.count("abort") == ATTEMPTS - 1
    assert changelog(kafka) == expected(kafka)
    assert dead_letters(kafka) == bad_records(kafka)


async def test_a_refused_batch_stops_the_lane_and_keeps_nothing(tmp_path):
    kafka = FakeKafka()
    kafka.refusals = [MessageSizeTooLargeError()] * 2
    fill(kafka, 30)
    await run_to_end(kafka, tmp_path)
    assert type(kafka.crashes[0]) is LaneError
    assert "MessageSizeTooLargeError" in str(kafka.crashes[0])
    assert changelog(kafka) == kafka.offsets == {}
    kafka.crashes.clear()
    kafka.refusals.clear()
    assert await run_to_end(kafka, tmp_path) == expected(kafka)


@pytest.mark.parametrize(
    ("error", "count"), [(NotEnoughReplicasError, 2 * ATTEMPTS), (OutOfOrderSequenceNumber, 4), (KafkaError, 4)]
)
async def test_a_lasting_error_of_the_broker_is_outlived_in_the_process(tmp_path, error, count):
    kafka = FakeKafka()
    kafka.refusals = [error() for _ in range(count)]
    fill(kafka, 30)
    assert await run_to_end(kafka, tmp_path) == expected(kafka) == changelog(kafka)
    assert not kafka.crashes
    assert dead_letters(kafka) == bad_records(kafka)
    assert kafka.steps.count("fence group-listens-0") + kafka.steps.count("fence group-listens-1") > len(PARTITIONS)


@pytest.mark.parametrize("step", ["send_offsets_to_transaction", "commit_transaction"])
async def test_a_batch_whose_outcome_is_unknown_is_folded_once(tmp_path, monkeypatch, step):
    """The broker may or may not have done what was not answered; the fence decides, and the restore shows it."""
    kafka, counts = FakeKafka(), LaneCounts()
    fill(kafka, 60)
    real, left = getattr(FakeProducer, step), [3]

    async def unanswered(producer: FakeProducer, *args) -> None:
        await real(producer, *args)
        if left[0] and "u1" in changelog_keys(kafka):
            left[0] -= 1
            raise KafkaTimeoutError

    monkeypatch.setattr(FakeProducer, step, unanswered)
    assert await run_to_end(kafka, tmp_path, metrics=counts) == expected(kafka) == changelog(kafka)
    assert dead_letters(kafka) == bad_records(kafka)
    assert (left, counts.stale, kafka.crashes) == ([0], 0, [])


async def test_a_fenced_member_opens_its_partition_again(tmp_path):
    """The broker fences a transaction that was open for too long; the group knows that nobody else is the owner."""
    kafka = FakeKafka()
    kafka.is_member = True
    kafka.refusals = [ProducerFenced()]
    fill(kafka, 30)
    assert await run_to_end(kafka, tmp_path) == expected(kafka) == changelog(kafka)
    assert not kafka.crashes


async def test_a_publish_without_an_answer_ends_at_its_deadline(tmp_path, monkeypatch):
    kafka = FakeKafka()
    writer = TransactionalWriter("listens", "changelog", "group", kafka, 1_000, 50)
    await writer.open(0)

    async def never(producer: FakeProducer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeProducer, "commit_transaction", never)
    with pytest.raises(LaneInterrupted, match="folded again"):
        await writer.publish(FoldedBatch(0, {b"u": b"v"}, [], 1))


async def test_failed_commit_is_never_retried(monkeypatch):
    kafka = FakeKafka()
    tried = []

    async def commit(producer: FakeProducer) -> None:
        tried.append(producer)
        raise NotEnoughReplicasError

    monkeypatch.setattr(FakeProducer, "commit_transaction", commit)
    writer = make_writer_on(kafka)
    await writer.open(0)
    with pytest.raises(LaneInterrupted, match="if it was not kept"):
        await writer.publish(FoldedBatch(0, {b"u": b"v"}, [], 1))
    assert len(tried) == 1


async def test_offset_of_the_last_record_is_returned_and_offsets_alone_are_committed():
    kafka = FakeKafka()
    writer = make_writer_on(kafka)
    await writer.open(0)
    await writer.open(1)
    assert await writer.publish(FoldedBatch(0, {bytes([n]): b"v" for n in range(7)}, [], 7)) == 6
    assert await writer.publish(FoldedBatch(0, {}, [], 9)) is None
    assert await writer.publish(FoldedBatch(0, {b"u": b"v"}, [], 10)) == 8  # 7 is the control record
    assert kafka.offsets == {0: 10}
    await writer.close(0)
    with pytest.raises(LaneError, match="closed"):
        await writer.publish(FoldedBatch(0, {b"u": b"v"}, [], 11))


async def test_missing_transaction_permission_is_reported_with_a_remedy(tmp_path, monkeypatch):
    async def start(producer: FakeProducer) -> None:
        raise NotGranted

    monkeypatch.setattr(FakeProducer, "start", start)
    kafka = FakeKafka()
    await run_to_end(kafka, tmp_path)
    assert "lane.guarantee = at_least_once" in str(kafka.crashes[0])


async def test_a_producer_that_cannot_be_started_is_started_again(tmp_path, monkeypatch):
    real, failures = FakeProducer.start, [KafkaError("no")] * 3

    async def start(producer: FakeProducer) -> None:
        if failures:
            raise failures.pop()
        await real(producer)

    monkeypatch.setattr(FakeProducer, "start", start)
    kafka = FakeKafka()
    fill(kafka, 10)
    assert await run_to_end(kafka, tmp_path) == expected(kafka)
    assert not kafka.crashes


async def test_revocation_does_not_wait_for_unanswered_fencing(tmp_path, monkeypatch):
    started = asyncio.Event()

    async def start(producer: FakeProducer) -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeProducer, "start", start)
    kafka = FakeKafka()
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await started.wait()
    async with asyncio.timeout(2):
        await lane.on_revoked(PARTITIONS)
    assert not kafka.crashes


@pytest.mark.parametrize("make", [make_writer_on, lambda kafka: IdempotentWriter("changelog", kafka, 1 << 16)])
async def test_derived_records_go_to_their_own_partitions_in_their_order(make):
    kafka = FakeKafka()
    writer = make(kafka)
    await writer.open(0)
    writer.set_changelog_end(0, 0)
    derived = [
        DerivedRecord("counts", 1, b"a", b"1"),
        DerivedRecord("counts", 1, b"b", None),
        DerivedRecord("erasures", 0, b"c", b"3"),
        DerivedRecord("counts", 0, b"d", b"4"),
    ]
    assert await writer.publish(FoldedBatch(0, {b"k": b"v"}, (), 1, derived=derived)) == 0
    assert await writer.publish(FoldedBatch(0, {}, (), 1, derived=derived[3:])) is None
    sent = [step for step in kafka.steps if step.startswith("send to")]
    assert sent == [f"send to {topic}" for topic in ("changelog", "counts", "erasures", "counts", "counts")]
    found = {
        place: [r[4:6] for r in kafka.visible(*place)] for place in (("counts", 1), ("erasures", 0), ("counts", 0))
    }
    assert found == {
        ("counts", 1): [(b"a", b"1"), (b"b", None)],
        ("erasures", 0): [(b"c", b"3")],
        ("counts", 0): [(b"d", b"4")] * 2,
    }
    await writer.close(0)


async def test_restore_waits_for_open_transactions(tmp_path, monkeypatch):
    kafka = FakeKafka()
    kafka.append("changelog", 0, b"before", b"1")
    stranger = FakeProducer(kafka, "stranger")
    await stranger.start()
    await stranger.begin_transaction()
    batch = stranger.create_batch()
    batch.append(key=b"open", value=b"2", timestamp=None, headers=[])
    await stranger.send_batch(batch, "changelog", partition=0)
    tables = UserTable(tmp_path, IDENTITY, TABLE)
    table = tables.open([0])[0]
    restorer = Restorer(IDENTITY, kafka, 7, LaneCounts())
    with monkeypatch.context() as patch:
        patch.setattr(readers, "STABLE_S", 0.0)
        with pytest.raises(LaneInterrupted, match="expected no open transaction"):
            await restorer.restore(0, table)
    waiting = asyncio.create_task(restorer.restore(0, table))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await stranger.commit_transaction()
    await waiting
    assert dict(table.items()) == {b"before": b"1", b"open": b"2"}
    assert table.positions.changelog_offset == 2
    tables.close()


def test_guarantee_follows_the_setting_and_the_broker():
    kafka, embedded = (Clients(KafkaSettings(bootstrap="x:1", kind=kind)) for kind in ("external", "embedded"))
    expected = {
        ("auto", kafka): "exactly_once",
        ("auto", embedded): "at_least_once",
        ("exactly_once", kafka): "exactly_once",
        ("at_least_once", kafka): "at_least_once",
        ("at_least_once", embedded): "at_least_once",
    }
    for (asked, clients), promised in expected.items():
        lane_settings = LANE.model_copy(update={"guarantee": asked})
        assert choose_guarantee(lane_settings, clients) == promised
        writer = make_writer(lane_settings, clients, IDENTITY, "group", Pacer())
        assert type(writer) is (TransactionalWriter if promised == "exactly_once" else IdempotentWriter)
    with pytest.raises(SettingsError, match="does not isolate"):
        choose_guarantee(LANE.model_copy(update={"guarantee": "exactly_once"}), embedded)


async def test_consecutive_transactions_have_a_short_backoff(monkeypatch):
    # aiokafka has the backoff between two transactions in a module constant, not in an argument.
    monkeypatch.setattr(aiokafka_sender, "BACKOFF_OVERRIDE", 0.02)
    producer = Clients(KafkaSettings(bootstrap="127.0.0.1:1")).async_producer(
        transactional_id="t", retry_backoff_ms=transactions.RETRY_BACKOFF_MS
    )
    assert aiokafka_sender.BACKOFF_OVERRIDE == TRANSACTION_BACKOFF_S == 0.002
    assert "BACKOFF_OVERRIDE" in aiokafka_sender.AddPartitionsToTxnHandler.handle_response.__code__.co_names
    assert producer._sender._retry_backoff == 0.005
    assert (ProducerFenced.retriable, NotEnoughReplicasError.retriable) == (False, True)
    await producer.stop()
