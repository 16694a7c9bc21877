"""Topics recorded into a log folder: whole, in order, resumable, and without what erased users had."""

import os
import time
from dataclasses import replace

import pytest

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.data.check import check_folder
from sidestream.models.data.plays import SplitOptions
from sidestream.models.records import CatalogItem, Listen, SessionStart, UserErasure
from sidestream.streams.errors import DataError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.erasure.requests import SWEPT_HEADER
from sidestream.streams.operate.recording import RecordOptions, record_topics, run
from sidestream.streams.operate.recording.spool import FOLDER, Spool, locked
from sidestream.streams.runtime.clock import LogClock
from sidestream.tokenizer import folders
from sidestream.tokenizer.errors import ArtifactError
from tests.models.log_catalogue import catalogue_at

DAY = 86_400_000
# Yesterday: a broker soon deletes what is older than its retention time.
T0 = time.time_ns() // 1_000_000 // 1_000 * 1_000 - DAY


def options(until=T0 + 100 * DAY, from_at=None, **more):
    return RecordOptions(from_at, until, **more)


@pytest.fixture
def clients(broker):
    return Clients(broker.kafka)


@pytest.fixture
def send(clients):
    """Publishes records and waits for their acknowledgement."""
    producer = clients.producer()

    def publish(topic, *records):
        for key, value, *headers in records:
            data = value.to_json() if hasattr(value, "to_json") else value
            at = value.at if hasattr(value, "at") else None
            producer.send(topic.name, key=key.encode(), value=data, timestamp_ms=at, headers=headers)
        producer.flush()

    yield publish
    producer.close()


def item(number, at=T0, **facts):
    return f"i{number}", CatalogItem(item_id=f"i{number}", kind="track", at=at, **facts)


def listen(user, number, item_id, at=None, **facts):
    at = T0 + 1_000 * number if at is None else at
    return user, Listen(event_id=f"{user}-{number}", user_id=user, item_id=item_id, at=at, **facts)


def start(user, number):
    return user, SessionStart(session_id=f"{user}-s{number}", user_id=user, at=T0 + 1_000 * number + 500)


def erasure(user, at):
    return user, UserErasure(erasure_id="e", user_id=user, at=at)


def fill(send, topics, users=4, count=12):
    send(topics.catalog_items, *[item(n) for n in range(5)])
    send(topics.listens, *[listen(f"u{n % users}", n, f"i{n * 3 % 5}") for n in range(count)])
    send(topics.session_starts, *[start(f"u{n % users}", n) for n in range(0, count, 3)])


def recorded(clients, topics, target, how=None):
    done = record_topics(clients, topics, target, how or options())
    found = check_folder(target)
    assert found.is_sound, found.problems
    return done, LogFolder(target)


def test_a_recording_holds_what_the_topics_do_in_total_order(clients, topics, send, tmp_path):
    fill(send, topics)
    done, folder = recorded(clients, topics, tmp_path / "log")
    assert dict(done.read) == {"catalog": 5, "listens": 12, "sessions": 4}
    assert [(row.event_id, row.at) for row in folder.listens()] == [
        (f"u{n % 4}-{n}", T0 + 1_000 * n) for n in range(12)
    ]
    assert [row.session_id for row in folder.sessions()] == ["u0-s0", "u3-s3", "u2-s6", "u1-s9"]
    assert [event.item_id for event in folder.catalog()] == [f"i{n}" for n in range(5)]
    assert not list(tmp_path.glob(".*"))


def test_items_keep_the_order_of_their_topic_and_removals(clients, topics, send, tmp_path):
    send(topics.catalog_items, item(0, T0 + 9_000, title="first"), item(0, T0 + 1_000, title="second"), item(1))
    send(topics.catalog_items, ("i1", None), ("never", None))
    send(topics.listens, listen("u", 1, "i0"), listen("u", 2, "gone"))
    done, folder = recorded(clients, topics, tmp_path / "log", options(until=1 << 45))
    assert catalogue_at(folder)["i0"].title == "second"
    assert set(catalogue_at(folder)) == {"i0"}
    assert done.manifest.counts.removals == 1
    assert [row.item_id for row in folder.listens()] == ["i0"]
    assert "1 row left out: their item is not in the catalogue" in done.manifest.notes


def test_a_range_of_time(clients, topics, send, tmp_path):
    fill(send, topics)
    how = options(from_at=T0 + 4_000, until=T0 + 9_000)
    _, folder = recorded(clients, topics, tmp_path / "log", how)
    assert [row.at for row in folder.listens()] == [T0 + 1_000 * n for n in range(4, 9)]
    assert [row.session_id for row in folder.sessions()] == ["u2-s6"]
    assert len(catalogue_at(folder)) == 5
    _, folder = recorded(clients, topics, tmp_path / "log", options(from_at=T0 + 4_000))
    assert len(list(folder.listens())) == 8, "a later end takes what was behind the earlier one"
    with pytest.raises(DataError, match="was recorded from"):
        record_topics(clients, topics, tmp_path / "log", options(from_at=T0 + 5_000))


def test_a_relative_start_is_that_of_the_first_run(clients, topics, send, tmp_path):
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log", options(from_at=T0 + 4_000, from_text="7d"))
    send(topics.listens, listen("u1", 20, "i0"))
    for later in (options(from_at=T0 + 7_000, from_text="7d"), options()):
        _, folder = recorded(clients, topics, tmp_path / "log", later)
        assert [row.at for row in folder.listens()] == [T0 + 1_000 * n for n in (*range(4, 12), 20)]
    for other in (options(from_at=T0 + 7_000, from_text="6d"), options(from_at=T0 + 7_000)):
        with pytest.raises(DataError, match=r"was recorded from .*--from out to go on; else record anew"):
            record_topics(clients, topics, tmp_path / "log", other)


def test_what_is_no_record_is_counted_and_named(clients, topics, send, tmp_path):
    fill(send, topics)
    send(topics.listens, ("u0", b"{broken"), ("u0", b"{}"), ("wrong", listen("u0", 50, "i0")[1].to_json()))
    send(topics.catalog_items, ("x", b'{"item_id": "x"}'))
    done, folder = recorded(clients, topics, tmp_path / "log")
    assert done.refused[topics.listens.name].reasons == {"not_json": 1, "missing_field": 1, "key_mismatch": 1}
    assert any(f"{topics.catalog_items.name}/" in note and "missing_field" in note for note in done.manifest.notes)
    assert len(list(folder.listens())) == 12
    again = record_topics(clients, topics, tmp_path / "log", options())
    assert again.refused == done.refused, "they are not counted again"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the recording runs after it."""


@pytest.mark.parametrize("dies_after", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4)), 7])
def test_a_killed_recording_goes_on_where_it_was(clients, topics, send, tmp_path, monkeypatch, dies_after):
    fill(send, topics)
    whole = recorded(clients, topics, tmp_path / "whole")[1].manifest.identity
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == dies_after:
            raise Killed

    def stepping(method):
        def run_it(self, *args):
            step()
            result = method(self, *args)
            step()
            return result

        return run_it

    monkeypatch.setattr(Spool, "append", stepping(Spool.append))
    how = options(segment_records=2)
    try:
        record_topics(clients, topics, tmp_path / "log", how, step)
    except Killed:
        assert not (tmp_path / "log" / "manifest.json").exists()
    monkeypatch.undo()
    _, folder = recorded(clients, topics, tmp_path / "log", how)
    assert folder.manifest.identity == whole


def test_another_run_brings_the_folder_up_to_date(clients, topics, send, tmp_path):
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log")
    send(topics.listens, *[listen("u1", n, "i0") for n in range(20, 25)], listen("u1", 20, "i0"))
    done, folder = recorded(clients, topics, tmp_path / "log")
    assert dict(done.read) == {"listens": 6}
    assert len(list(folder.listens())) == 17
    assert "1 row left out: the same play again" in done.manifest.notes
    assert recorded(clients, topics, tmp_path / "new")[1].manifest.identity == folder.manifest.identity


def test_a_run_that_came_second_continues_from_what_the_first_left(clients, topics, send, tmp_path, monkeypatch):
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log")
    send(topics.listens, *[listen("u1", n, "i0") for n in range(20, 25)])
    real = run.locked

    def after_another(target):
        monkeypatch.setattr(run, "locked", real)
        assert dict(recorded(clients, topics, target)[0].read) == {"listens": 5}
        send(topics.listens, listen("u1", 30, "i0"))
        return real(target)

    monkeypatch.setattr(run, "locked", after_another)
    done, folder = recorded(clients, topics, tmp_path / "log")
    assert dict(done.read) == {"listens": 1}
    assert len(list(folder.listens())) == 18


def everything(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_erased_users_are_left_out_also_those_erased_later(clients, topics, send, tmp_path):
    fill(send, topics)
    send(topics.user_erasures, erasure("u0", T0 + 5_000))
    done, folder = recorded(clients, topics, tmp_path / "log")
    assert [row.at for row in folder.listens() if row.user_id == "u0"] == [T0 + 8_000]
    assert done.erased == 3, "two listens and a session-start"
    send(topics.user_erasures, erasure("u1", T0 + 50_000))
    _, folder = recorded(clients, topics, tmp_path / "log")
    assert "u1" not in {row.user_id for row in folder.listens()}
    assert b"u1-" not in everything(tmp_path / "log"), "nothing of it is kept for the next run either"
    assert b"u2-" in everything(tmp_path / "log")


def test_a_swept_erasure_takes_what_its_topic_no_longer_holds(clients, topics, send, tmp_path, monkeypatch):
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log")
    send(topics.user_erasures, ("u0", None, (SWEPT_HEADER, b"1")), ("u1", None))
    _, folder = recorded(clients, topics, tmp_path / "log")
    assert len([row for row in folder.listens() if row.user_id == "u0"]) == 3, "all of it is on the topic still"
    real = run.TopicReader.__init__

    def expired(self, *args):
        real(self, *args)
        self.begins = self.ends

    monkeypatch.setattr(run.TopicReader, "__init__", expired)
    _, folder = recorded(clients, topics, tmp_path / "log")
    assert {row.user_id for row in folder.listens()} == {"u1", "u2", "u3"}


def test_a_swept_erasure_takes_session_starts_that_are_kept_longer_than_listens(clients, topics, send, tmp_path):
    fill(send, topics)
    for target in ("log", "log", "fresh"):
        _, folder = recorded(clients, topics, tmp_path / target)
        send(topics.user_erasures, ("u0", None, (SWEPT_HEADER, b"1")))
    assert {row.user_id for row in folder.sessions()} == {"u1", "u2", "u3"}
    assert {row.user_id for row in LogFolder(tmp_path / "log").sessions()} == {"u1", "u2", "u3"}


def clock_at(now_ms):
    clock = LogClock()
    clock.observe(now_ms)
    return clock


def kept_ms(clients, topics, monkeypatch, *, catalog, erasures):
    """Let tombstones of the two topics be kept for so long."""
    real = run.describe_topics

    def describe(*args):
        found = dict(real(*args))
        for spec, kept in ((topics.catalog_items, catalog), (topics.user_erasures, erasures)):
            found[spec.name] = replace(found[spec.name], delete_retention_ms=kept)
        return found

    monkeypatch.setattr(run, "describe_topics", describe)


@pytest.mark.parametrize("kept", [{"catalog": 7 * DAY, "erasures": DAY}, {"catalog": DAY, "erasures": 7 * DAY}])
def test_a_recording_is_refused_once_tombstones_may_be_gone(clients, topics, send, tmp_path, monkeypatch, kept):
    kept_ms(clients, topics, monkeypatch, **kept)
    fill(send, topics)
    now = T0 + DAY
    first_at = now + 22 * 3_600_000
    recorded(clients, topics, tmp_path / "log", options(clock=clock_at(now)))
    recorded(clients, topics, tmp_path / "log", options(clock=clock_at(first_at)))
    before = everything(tmp_path / "log")
    late = options(clock=clock_at(first_at + 23 * 3_600_000))
    with pytest.raises(DataError, match=r"less than 23\.0 h ago, got one of 23\.0 h ago: .*erased.*--overwrite"):
        record_topics(clients, topics, tmp_path / "log", late)
    assert everything(tmp_path / "log") == before
    send(topics.user_erasures, erasure("u0", T0 + 50_000))
    done, folder = recorded(clients, topics, tmp_path / "log", replace(late, overwrite=True))
    assert dict(done.read) == {"catalog": 5, "listens": 12, "sessions": 4}
    assert {row.user_id for row in folder.listens()} == {"u1", "u2", "u3"}
    recorded(clients, topics, tmp_path / "log", options(clock=clock_at(first_at + 24 * 3_600_000)))


def test_the_age_of_a_recording_counts_from_the_begin_of_its_last_complete_run(
    clients, topics, send, tmp_path, monkeypatch
):
    kept_ms(clients, topics, monkeypatch, catalog=DAY, erasures=DAY)
    fill(send, topics)
    target, late = tmp_path / "log", options(clock=clock_at(T0 + 23 * 3_600_000))

    def dies(*_):
        raise Killed

    monkeypatch.setattr(run, "read_erased", dies)
    with pytest.raises(Killed):
        record_topics(clients, topics, target, options(clock=clock_at(T0)))
    with pytest.raises(DataError, match=r"got one of 23\.0 h ago"):
        record_topics(clients, topics, target, late)

    clock = clock_at(T0 + 22 * 3_600_000)

    def slow(*_):
        clock.observe(late.clock())

    monkeypatch.setattr(run, "read_erased", slow)
    with pytest.raises(DataError, match=r"got one of 23\.0 h ago"):
        record_topics(clients, topics, target, options(clock=clock))
    assert not (target / "manifest.json").exists()


def test_a_recording_of_an_earlier_release_is_refused(clients, topics, send, tmp_path):
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log")
    spool = Spool.open(tmp_path / "log" / FOLDER)
    old = spool.state.model_dump_json(exclude={"known_at", "topic_ids", "from_text"})
    (tmp_path / "log" / FOLDER / "state.json").write_text(old[:-1] + ',"split":"last","session_gap_ms":60000}')
    with pytest.raises(DataError, match=r"got one of an unknown time ago.*record anew with --overwrite"):
        record_topics(clients, topics, tmp_path / "log", options())
    recorded(clients, topics, tmp_path / "log", options(overwrite=True))


@pytest.mark.parametrize(
    "which",
    [
        "catalog_items",
        "listens",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("session_starts", "user_erasures")),
    ],
)
def test_a_topic_that_was_made_again_is_refused(clients, topics, send, tmp_path, monkeypatch, which):
    real = run.describe_topics
    ids = {spec.name: f"id of {spec.name}" for spec in topics}

    def describe(*args):
        return {name: replace(state, topic_id=ids[name]) for name, state in real(*args).items()}

    monkeypatch.setattr(run, "describe_topics", describe)
    fill(send, topics)
    recorded(clients, topics, tmp_path / "log")
    name = getattr(topics, which).name
    ids[name] = "another"
    with pytest.raises(DataError, match=rf"{name}: expected topic id id of .*, got another: the topic was made again"):
        record_topics(clients, topics, tmp_path / "log", options())
    ids[name] = None  # a broker that reports none
    recorded(clients, topics, tmp_path / "log")


def test_a_replacement_that_was_interrupted_is_undone_before_the_recording_goes_on(
    clients, topics, send, tmp_path, monkeypatch
):
    fill(send, topics)
    place = tmp_path / "log"
    recorded(clients, topics, place)
    place.rename(tmp_path / ".log.old")
    send(topics.listens, listen("u1", 20, "i0"))
    monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    done, folder = recorded(clients, topics, place)
    assert dict(done.read) == {"listens": 1}
    assert len(list(folder.listens())) == 13
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_mount_point_is_refused_before_anything_is_read(clients, topics, tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path / "log"))
    with pytest.raises(ArtifactError, match="got a mount point; name a folder inside it"):
        record_topics(clients, topics, tmp_path / "log", options())
    assert not list(tmp_path.iterdir())


def test_a_split_of_recorded_listens_asks_with_the_recorded_session_starts(clients, topics, send, tmp_path):
    fill(send, topics, users=2, count=20)
    _, folder = recorded(clients, topics, tmp_path / "log", options(split=SplitOptions("last")))
    assert (training_sequences(folder).test >= 0).sum() == 2
    starts = {row.session_id: row for row in folder.sessions()}
    for row in folder.heldout():
        if row.role == "test":
            own = max(listen.at for listen in folder.listens() if listen.user_id == row.user_id)
            assert own <= starts[row.session_id].at <= row.at
    assert "u0-s0" in starts


def test_foreign_folders_and_other_topics_are_refused(clients, topics, send, tmp_path):
    fill(send, topics)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(DataError, match="expected a new folder"):
        record_topics(clients, topics, tmp_path / "mine", options())
    recorded(clients, topics, tmp_path / "log")
    spool = Spool.open(tmp_path / "log" / FOLDER)
    with locked(tmp_path / "log"), pytest.raises(DataError, match="another recording"):
        record_topics(clients, topics, tmp_path / "log", options())
    ahead = {topics.listens.name: dict.fromkeys(range(3), 999)}
    spool.append([], spool.state.model_copy(update={"next_offsets": ahead}))
    with pytest.raises(DataError, match="the topic was made again"):
        record_topics(clients, topics, tmp_path / "log", options())
    (tmp_path / "log" / FOLDER / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"remove .* to start over"):
        record_topics(clients, topics, tmp_path / "log", options())
