"""Generations on a real Kafka: rolled out, back and retired under load, with killed, late and refusing workers."""

import json
import signal
from pathlib import Path

import pytest

from sidestream.models.records import Generation, ItemSids
from sidestream.streams.errors import GenerationError
from sidestream.streams.operate.rollout.rollout import Operator
from sidestream.streams.operate.rollout.watch import ControlWatch
from tests.integration.rigs.session_rig import Rig, wait_until

pytestmark = pytest.mark.broker

A, B, C = "00112233aabb", "bbbbbbbbbbbb", "cccccccccccc"
ITEMS = 40
READY_S = 90.0


class Installation:
    """Workers that share their pair folders, and an operator."""

    def __init__(self, kafka, topics, tmp_path):
        self.kafka, self.topics, self.tmp_path = kafka, topics, tmp_path
        self.pairs = tmp_path / "pairs"
        self.pairs.mkdir()
        self.rigs, self.progress, self.watches = [], [], []

    def pair(self, name, version, **described):
        (self.pairs / name).mkdir()
        (self.pairs / name / "pair.json").write_text(json.dumps({"version": version, **described}))

    def rig(self, **flags):
        folder = self.tmp_path / f"rig{len(self.rigs)}"
        folder.mkdir()
        own = {
            "generations.folder": str(self.pairs),
            "generations.worker_name": f"w{len(self.rigs)}",
            "generations.report_s": 0.5,
            "generations.retry_s": 0.5,
            "generations.rewrite_rest": 0.0,
        }
        self.rigs.append(Rig(self.kafka, self.topics, folder, **{**own, **flags}))
        return self.rigs[-1]

    def watch(self):
        rig = self.rigs[0]
        groups = [rig.flags["worker.app_id"] + role for role in ("", "-recommend", "-tokenize")]
        self.watches.append(ControlWatch(rig.clients, self.topics, groups, 3.0))
        return self.watches[-1]

    def operator(self, patience_s=120.0):
        return Operator(self.watch(), self.topics, patience_s, self.progress.append, stalled_s=3.0)

    def values(self):
        """The last value of every item, after a compaction."""
        rig, found = self.rigs[0], {}
        consumer = rig.reader(self.topics.item_sids.name)
        ends = consumer.end_offsets(consumer.assignment())
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    found[record.key.decode()] = record.value and ItemSids.from_json(record.value)
        consumer.close()
        return {item_id: value for item_id, value in found.items() if value is not None}

    def order(self, version, phase, pair="b", **fields):
        value = Generation(version=version, pair=pair, phase=phase, at=1, **fields).to_json()
        self.rigs[0].send(self.topics.generations, version, value).get(10)

    def close(self):
        for rig in self.rigs:
            rig.close()
        for watch in self.watches:
            watch.close()


@pytest.fixture
def installation(kafka, make_topics, tmp_path):
    made = Installation(kafka, make_topics(), tmp_path)
    yield made
    made.close()


@pytest.fixture
def loop(installation):
    """One worker with items and a listener, ready."""
    return begun(installation)


def begun(installation, **flags):
    installation.pair("b", B, sizes=(16, 16, 16))
    rig = installation.rig(**flags)
    for number in range(ITEMS):
        rig.item(f"i{number}")
    rig.listen("u", "i0", 2_000)
    rig.flush()
    rig.start().ready(READY_S)
    wait_until(lambda: rig.metric("sidestream_catalogue_items") == ITEMS, what="items")
    wait_until(lambda: rig.get("/v1/users/u/state")[0] == 200, what="state")
    return rig


def serves(rig, version):
    return rig.get("/readyz")[1]["tokenizer_version"] == version


def holds(installation, *versions):
    return all(set(value.versions) == set(versions) for value in installation.values().values())


def must_fit(installation, answer):
    """Every SID of a set must be the one that the catalogue has under the version that the set names."""
    values = installation.values()
    for candidate in answer.candidates:
        sid = values[candidate.item_id].versions[answer.tokenizer_version].sid
        assert candidate.sid == "-".join(map(str, sid))
    assert answer.catalogue_version.startswith(answer.tokenizer_version)
    assert answer.model_version == ("first-rows" if answer.tokenizer_version == A else f"first-rows-{B}")


def saved(rig, version):
    """Finished folders of a version's catalogue on the worker's disk."""
    folder = Path(rig.flags["data_dir"]) / "worker" / rig.flags["worker.app_id"] / "catalogue"
    return [path for path in folder.glob(f"{version}-*/*") if path.name.isdigit()]


def test_rollout_rollback_and_retirement_of_the_old_version(installation):
    loop = begun(installation, **{"catalogue.save_min_items": 0, "catalogue.save_every_s": 0.5})
    operator = installation.operator()
    loop.session("before")
    assert loop.answer("before").tokenizer_version == A
    assert operator.rollout(B, "b", "home").phase == "active"
    assert holds(installation, A, B)
    loop.session("after")
    answer = loop.answer("after")
    assert answer.tokenizer_version == B
    assert len(answer.candidates[0].sid.split("-")) == 3
    must_fit(installation, answer)
    # What comes now is written under both, and visible under the one that serves.
    loop.item("late").get(10)
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == ITEMS + 1, what="the late item")
    assert set(installation.values()["late"].versions) == {A, B}

    assert operator.rollback().version == A
    assert serves(loop, A)
    loop.session("back")
    must_fit(installation, loop.answer("back"))
    # A catalogue on standby may be a second old when it serves again.
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == ITEMS + 1, what="the late item again")

    assert operator.rollback().version == B, "a rollback can be rolled back"
    with pytest.raises(GenerationError, match="serves"):
        operator.retire(B)
    wait_until(lambda: saved(loop, A) and saved(loop, B), what="both catalogues on disk")
    assert operator.retire(A).phase == "retired"
    assert holds(installation, B)
    wait_until(lambda: not saved(loop, A), what="no catalogue of the retired version on disk")
    assert saved(loop, B)
    loop.session("alone")
    must_fit(installation, loop.answer("alone"))
    with pytest.raises(GenerationError, match="standby"):
        operator.rollback()
    # A worker that starts now never needs the pair of its own settings.
    assert loop.end() == 0
    loop.start().ready(READY_S)
    assert serves(loop, B)
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == ITEMS + 1, what="items")
    assert holds(installation, B)


@pytest.mark.slow
def test_a_worker_killed_while_the_catalogue_is_rewritten(installation):
    rig = begun(installation, **{"generations.rewrite_batch": 1, "generations.rewrite_rest": 50.0})
    installation.order(B, "preparing")
    wait_until(lambda: rig.metric('sidestream_rewritten_items_total{outcome="rewritten"}') >= 3, what="a few items")
    assert rig.end(signal.SIGKILL) != 0
    assert 0 < sum(B in value.versions for value in installation.values().values()) < ITEMS
    # Updates while no worker runs: the last event of each item must win over the rewritten value.
    rig.item("i1", title="Another title")
    rig.send(installation.topics.catalog_items, "i2", None)
    rig.flush()
    rig.flags["generations.rewrite_rest"] = 0.0
    rig.start().ready(READY_S)
    installation.operator().rollout(B, "b", "home")
    values = installation.values()
    assert "i2" not in values
    assert values["i1"].title == "Another title"
    assert len(values) == ITEMS - 1
    assert holds(installation, A, B)


@pytest.mark.slow
def test_updates_during_a_rewrite_are_never_overwritten(installation):
    rig = begun(installation, **{"generations.rewrite_batch": 2, "generations.rewrite_rest": 20.0})
    installation.order(B, "preparing")
    wait_until(lambda: rig.metric('sidestream_rewritten_items_total{outcome="rewritten"}') >= 2, what="a few items")
    for number in range(ITEMS):
        if number % 3:
            rig.item(f"i{number}", title=f"New {number}")
        else:
            rig.send(installation.topics.catalog_items, f"i{number}", None)
    rig.flush()
    installation.operator().rollout(B, "b", "home")
    values = installation.values()
    assert {item_id: value.title for item_id, value in values.items()} == {
        f"i{number}": f"New {number}" for number in range(ITEMS) if number % 3
    }
    assert rig.metric('sidestream_rewritten_items_total{outcome="newer"}') > 0


@pytest.mark.slow
def test_a_worker_that_starts_during_a_rollout_reaches_the_same_state(installation, loop):
    installation.operator().rollout(B, "b", "home")
    late = installation.rig(**{"worker.role": "recommend"})
    late.flags["worker.app_id"] = loop.flags["worker.app_id"] + "-other"
    late.start().ready(READY_S)
    assert serves(late, B)
    wait_until(lambda: late.metric("sidestream_catalogue_items") == ITEMS, what="items")
    # It has loaded the standby version, too.
    installation.order(A, "active", "home", at_once=True)
    wait_until(lambda: serves(late, A) and serves(loop, A), what="both back")


def test_a_missing_pair_stops_only_the_rollout(installation, loop):
    operator = installation.operator()
    with pytest.raises(GenerationError, match=r"w0: .*pair folder .*nowhere.*retire"):
        operator.rollout(C, "nowhere", "home")
    assert loop.metric('sidestream_generation_refusals_total{reason="pair"}') >= 1
    loop.session("still")
    assert loop.answer("still").tokenizer_version == A
    assert loop.get("/readyz")[0] == 200
    with pytest.raises(GenerationError, match="being prepared"):
        operator.rollout(B, "b", "home")
    operator.retire(C)
    operator.rollout(B, "b", "home")
    assert serves(loop, B)


@pytest.mark.slow
def test_a_pair_of_another_version_is_refused(installation, loop):
    with pytest.raises(GenerationError, match=f"is of version {B}"):
        installation.operator().rollout(C, "b", "home")
    assert serves(loop, A)


def test_an_unknown_version_is_not_retired(installation, loop):
    with pytest.raises(GenerationError, match="got 'unknown'"):
        installation.operator().retire("unknown")


@pytest.mark.slow
def test_orders_in_any_sequence_lead_to_one_state(installation, loop):
    # Active without having been prepared: the worker prepares it, then switches.
    installation.order(B, "active")
    loop.send(installation.topics.generations, "broken", b"{").get(10)
    wait_until(lambda: serves(loop, B), what="B")
    assert holds(installation, A) or holds(installation, B) or holds(installation, A, B)
    wait_until(lambda: all(B in value.versions for value in installation.values().values()), what="B in all values")
    installation.order(A, "preparing", "home")
    installation.order(A, "active", "home")
    wait_until(lambda: serves(loop, A), what="A")
    loop.session("s")
    must_fit(installation, loop.answer("s"))


@pytest.mark.slow
def test_an_active_pair_that_cannot_be_loaded_is_shown_by_the_readiness(installation, loop):
    installation.order(C, "active", "nowhere")
    wait_until(lambda: loop.get("/readyz")[0] == 503, what="not ready")
    (reason,) = [r for r in loop.get("/readyz")[1]["reasons"] if "is ordered to serve" in r]
    assert "nowhere" in reason
    assert f"{A} still serves" in reason
    loop.session("still")
    assert loop.answer("still").tokenizer_version == A
    assert loop.end() == 0
    # From the start on, it has nothing to serve with.
    loop.start()
    wait_until(lambda: "nothing serves" in str(loop.get("/readyz")[1]), what="reasons")
    installation.pair("nowhere", C, sizes=(16, 16))
    loop.ready(READY_S)
    assert serves(loop, C)


def test_an_item_that_the_next_version_rejects_is_reported_and_may_be_accepted(installation, loop):
    installation.pair("picky", C, sizes=(16, 16), refuses="i7")
    operator = installation.operator()
    with pytest.raises(GenerationError, match="--may-miss 1"):
        operator.rollout(C, "picky", "home")
    operator.rollout(C, "picky", "home", may_miss=1)
    assert serves(loop, C)
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == ITEMS - 1, what="items")


@pytest.mark.slow
def test_separate_roles_roll_out_together(installation):
    installation.pair("b", B, sizes=(16, 16))
    tokenizing = installation.rig(**{"worker.role": "tokenize"})
    answering = installation.rig(**{"worker.role": "recommend"})
    for number in range(5):
        answering.item(f"i{number}")
    answering.listen("u", "i0", 2_000)
    answering.flush()
    tokenizing.start()
    answering.start().ready(READY_S)
    tokenizing.ready(READY_S)
    wait_until(lambda: answering.metric("sidestream_catalogue_items") == 5, what="items")
    installation.operator().rollout(B, "b", "home")
    assert serves(answering, B)
    wait_until(lambda: serves(tokenizing, B), what="the tokenizing one")
