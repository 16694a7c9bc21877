import os
import signal
import subprocess
import sys
import time

import pytest

from tests.integration.rigs.session_rig import ROOT, Rig, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(kafka, make_topics, tmp_path):
    rigs = []

    def make(alongside=None, **flags):
        topics = make_topics() if alongside is None else alongside.topics
        folder = tmp_path / str(len(rigs))
        folder.mkdir()
        rigs.append(Rig(kafka, topics, folder, **flags))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()


def ids(candidate_set):
    return [candidate.item_id for candidate in candidate_set.candidates]


def creator_of(item_id):
    return f"c{int(item_id[1:]) // 4}"


def require_own_history(answer, heard, last_offset):
    """The answer rests on all listens of its own listener, and on nobody else's."""
    assert answer.state_watermark == last_offset
    assert not set(heard) & set(ids(answer))
    makers = set(map(creator_of, heard))
    assert [c.familiar for c in answer.candidates] == [creator_of(item_id) in makers for item_id in ids(answer)]


def test_each_answer_is_made_from_the_listens_of_its_listener(rig):
    loop = rig()
    for number in range(20):
        loop.item(f"i{number}", creator=creator_of(f"i{number}"))
    heard = {"u": ("i0", "i5"), "v": ("i8",), "w": ("i12", "i16", "i17"), "x": ("i1",), "nobody": (), "stranger": ()}
    offsets = {
        user: [loop.listen(user, item_id, 2_000 + at).get(10).offset for at, item_id in enumerate(items)]
        for user, items in heard.items()
    }
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 20, what="items")

    def folded(user):
        return (loop.get(f"/v1/users/{user}/state")[1] or {}).get("listens_folded", 0)

    for user, items in heard.items():
        wait_until(lambda user=user, items=items: folded(user) == len(items), what=f"listens of {user}")

    def ask(*sessions):
        for user, name in sessions:
            loop.session(f"{user}-{name}", user_id=user)
        loop.flush()
        for user, name in sessions:
            answer = loop.answer(f"{user}-{name}")
            assert answer.user_id == user
            require_own_history(answer, heard[user], max(offsets[user], default=-1))

    # Many at once, and one after the other.
    ask(*((user, f"batch{number}") for number in range(5) for user in heard))
    for user in (*heard, *reversed(heard)):
        ask((user, f"single{len(loop.sets())}"))
    assert loop.end() == 0


def test_the_loop_from_items_and_listens_to_candidates(rig):
    loop = rig()
    for number in range(20):
        loop.item(f"i{number}", creator=f"c{number // 4}")
    for at, item in enumerate(("i0", "i5")):
        loop.listen("u", item, 2_000 + at)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 20, what="items")
    wait_until(lambda: loop.get("/v1/users/u/state")[0] == 200, what="state")
    loop.session("s1")
    loop.session("s2", user_id="nobody")
    loop.session("s3", discovery="unfamiliar", exclude=["i8"])
    loop.flush()
    first, stranger, unfamiliar = (loop.answer(name) for name in ("s1", "s2", "s3"))
    assert first.fallback is None
    assert len(ids(first)) == 10
    assert not {"i0", "i5"} & set(ids(first))
    assert first.state_watermark >= 0
    assert first.model_version == "first-rows"
    assert {"queue", "state", "features", "engine", "resolve", "total"} <= first.timings_ms.keys()
    assert stranger.fallback.reason == "no_history"
    assert stranger.state_watermark == -1
    # i0 and i5 make c0 and c1 familiar: i0 to i7; i8 is excluded.
    assert set(ids(unfamiliar)) <= {f"i{n}" for n in range(9, 20)}
    status, state = loop.get("/v1/users/u/state")
    assert status == 200
    assert [entry["item_id"] for entry in state["history"]] == ["i5", "i0"]
    assert loop.get("/v1/users/nobody/state")[0] == 404
    assert loop.get("/livez") == (200, {"alive": True, "reasons": []})
    assert loop.metric('sidestream_sessions_total{outcome="model"}') == 2
    assert loop.end() == 0


def test_a_catalogue_change_is_in_candidates_within_a_second(rig):
    loop = rig()
    for number in range(3):
        loop.item(f"i{number}")
    loop.listen("u", "i0", 2_000)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 3, what="items")
    wait_until(lambda: loop.get("/v1/users/u/state")[0] == 200, what="state")
    before = time.monotonic()
    loop.item("new").get(10)
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 4, 5.0, "the new item")
    assert time.monotonic() - before < 1.0
    loop.session("with")
    assert "new" in ids(loop.answer("with"))
    before = time.monotonic()
    loop.send(loop.topics.catalog_items, "new", None).get(10)
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 3, 5.0, "its removal")
    assert time.monotonic() - before < 1.0
    loop.session("without")
    assert "new" not in ids(loop.answer("without"))


def test_bad_records_become_dead_letters_and_the_streams_continue(rig):
    loop = rig(**{"session.start": "beginning"})
    loop.item("i0")
    loop.listen("u", "i0", 2_000)
    loop.send(loop.topics.catalog_items, "broken", b"{not json")
    loop.send(loop.topics.catalog_items, "other", {"item_id": "i9", "kind": "track", "at": 1_700_000_000_000})
    loop.send(loop.topics.session_starts, "u", b"\xff\xfe")
    loop.send(loop.topics.session_starts, "u", {"session_id": "x", "at": 1_700_000_000_000})
    loop.send(loop.topics.session_starts, "v", {"session_id": "x", "user_id": "u", "at": 1_700_000_000_000})
    loop.session("good")
    loop.item("i1")
    loop.flush()
    loop.start().ready()
    assert loop.answer("good", 20.0).user_id == "u"
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 2, what="items")
    sessions = loop.letters(loop.topics.session_starts.name + ".dlq", 3)
    items = loop.letters(loop.topics.catalog_items.name + ".dlq", 2)
    reasons = sorted(dict(letter.headers)["__streams.errors.reason"].decode() for letter in sessions + items)
    assert reasons == ["key_mismatch", "key_mismatch", "missing_field", "not_json", "not_json"]
    assert b"{not json" in [letter.value for letter in items]
    assert loop.end() == 0


def test_sigkill_leaves_no_session_unanswered(rig):
    loop = rig(engine_sleep_s=0.02)
    for number in range(5):
        loop.item(f"i{number}")
    users = [f"u{number}" for number in range(10)]
    for user in users:
        loop.listen(user, "i0", 2_000)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 5, what="items")
    sent = [f"s{number}" for number in range(150)]
    for number, session_id in enumerate(sent):
        loop.session(session_id, user_id=users[number % len(users)])
    loop.flush()
    wait_until(lambda: len(loop.sets()) >= 20, what="the first answers")
    assert loop.end(signal.SIGKILL) != 0
    assert len({s.session_id for s in loop.sets()}) < len(sent), "killed too late to mean anything"
    loop.start().ready()
    wait_until(lambda: len({s.session_id for s in loop.sets()}) == len(sent), 30.0, "all answers")
    by_session = {}
    for candidate_set in loop.sets():
        by_session.setdefault(candidate_set.session_id, set()).add(candidate_set.candidate_set_id)
    assert all(len(names) == 1 for names in by_session.values())
    assert loop.end() == 0
    answered = len(loop.all_sets())
    # Nothing is answered again after an orderly end.
    loop.start().ready()
    loop.session("last")
    loop.flush()
    loop.answer("last")
    assert len(loop.all_sets()) == answered + 1
    assert loop.end() == 0


def test_a_slow_engine_is_answered_in_time_by_popularity(rig):
    loop = rig(engine_sleep_s=1.0, **{"session.deadline_ms": 100, "session.engine_threads": 1})
    loop.item("i0")
    loop.item("i1")
    loop.listen("u", "i0", 2_000)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 2, what="items")
    wait_until(lambda: loop.get("/v1/users/u/state")[0] == 200, what="state")
    for number in range(5):
        loop.session(f"s{number}")
    loop.flush()
    for number in range(5):
        answer = loop.answer(f"s{number}", 5.0)
        assert answer.fallback.reason == "deadline"
        assert ids(answer) == ["i1"]
        assert answer.timings_ms["total"] < 800
    assert loop.metric('sidestream_sessions_total{outcome="deadline"}') == 5
    assert loop.end() == 0


def test_separate_roles_do_what_one_worker_does(rig):
    tokenizing = rig(**{"worker.role": "tokenize"})
    answering = rig(alongside=tokenizing, **{"worker.role": "recommend"})
    answering.item("i0")
    answering.item("i1")
    answering.listen("u", "i0", 2_000)
    answering.flush()
    tokenizing.start()
    answering.start().ready()
    tokenizing.ready()
    wait_until(lambda: answering.metric("sidestream_catalogue_items") == 2, what="items")
    wait_until(lambda: answering.get("/v1/users/u/state")[0] == 200, what="state")
    answering.session("s")
    answering.flush()
    assert ids(answering.answer("s")) == ["i1"]
    assert tokenizing.get("/v1/users/u/state")[0] == 404
    assert (answering.end(), tokenizing.end()) == (0, 0)


@pytest.mark.slow
def test_a_lane_that_cannot_continue_ends_the_worker_with_a_reason(rig):
    loop = rig(**{"kafka.request_timeout_ms": 4_000})
    loop.item("i0").get(10)
    loop.start().ready()
    admin = loop.clients.admin()
    admin.delete_topics([loop.topics.candidates.name])
    admin.close()
    loop.session("s").get(10)
    assert loop.process.wait(30) == 70
    last = loop.log.read_text().strip().splitlines()[-1]
    assert loop.topics.candidates.name in last
    assert "restart the worker" in last


def test_faust_itself_can_run_the_worker(rig):
    loop = rig()
    names = {"artifacts": str(ROOT / "streams" / "demo" / "artifact"), **loop.flags}
    env = {f"SIDESTREAM_{name.upper().replace('.', '__')}": str(value) for name, value in names.items()}
    with loop.log.open("ab") as log:
        loop.process = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "sidestream.streams.app", "worker", "--loglevel", "warn"],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **env},
        )
    loop.ready()
    assert loop.get("/readyz")[1]["model_version"] != "first-rows"
    assert loop.end() == 0


def test_missing_topics_are_refused_in_one_line(rig):
    loop = rig()
    loop.flags["topics.prefix"] = "nowhere-"
    loop.start()
    assert loop.process.wait(30) == 1
    last = loop.log.read_text().strip().splitlines()[-1]
    assert "nowhere-listen-events.v1" in last
    assert "topics create" in last


def test_a_missing_broker_shows_in_readiness_and_ends_the_worker(rig):
    loop = rig(**{"worker.broker_wait_s": 3.0})
    loop.flags["kafka.bootstrap"] = "127.0.0.1:1"
    loop.start()
    status, body = wait_until(lambda: (a := loop.get("/readyz"))[0] and a, 20.0, "pages")
    assert status == 503
    assert any("kafka" in reason for reason in body["reasons"])
    assert loop.process.wait(30) == 1
    assert "127.0.0.1:1" in loop.log.read_text().strip().splitlines()[-1]


def test_sigterm_while_kafka_is_awaited_is_a_normal_shutdown(rig):
    loop = rig()
    loop.flags["kafka.bootstrap"] = "127.0.0.1:1"
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] == 503, 20.0, "pages")
    assert loop.end() == 0
