"""Orders follow from the last record of each key only, so a reader after compaction has the same state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.records import Generation, GenerationReport
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.orders import Orders

HOME = "home"
VERSIONS = ("home", "b", "c")
PHASES = ("preparing", "active", "standby", "retired")


def generation(version, phase, **fields):
    return Generation(version=version, pair=f"pair-{version}", phase=phase, at=1, **fields).to_json()


def orders(*ordered):
    made = Orders()
    for offset, (version, phase) in enumerate(ordered):
        made.order(version.encode(), phase and generation(version, phase), offset)
    return made


def held(made, version, partition, progress="held"):
    report = GenerationReport(version=version, partition=partition, progress=progress, at=1)
    made.report(report.key.encode(), report.to_json())


def test_without_orders_the_own_pair_serves():
    plan = Orders().plan(HOME)
    assert (plan.active, plan.live, plan.preparing) == (HOME, (HOME,), None)


def test_a_rollout_and_a_rollback():
    made = orders(("b", "preparing"))
    assert made.plan(HOME).live == (HOME, "b")
    assert made.plan(HOME).preparing == "b"
    made = orders(("b", "preparing"), ("home", "active"), ("b", "active"))
    assert made.plan(HOME).active == "b"
    assert made.standby.version == "home"
    made = orders(("home", "active"), ("b", "active"), ("home", "standby"), ("home", "active"), ("b", "standby"))
    assert (made.plan(HOME).active, made.standby.version) == ("home", "b")


def test_a_retired_version_is_not_live_even_as_the_own_pair():
    made = orders(("b", "active"), ("home", "retired"))
    assert made.plan(HOME).live == ("b",)
    assert made.standby is None
    assert made.wanted(("b",)) == {"b": "held", "home": "dropped"}
    # Retired by hand while nothing else may serve: it continues to serve, and its values stay.
    made = orders(("home", "retired"))
    assert made.plan(HOME).live == (HOME,)
    assert not made.unsettled(0, (HOME,)) or made.wanted((HOME,)) == {"home": "held"}


def test_partitions_are_rewritten_until_they_match_the_orders():
    made = orders(("home", "active"), ("b", "preparing"))
    assert made.unsettled(0, ("home", "b"))
    held(made, "home", 0)
    held(made, "b", 0)
    assert not made.unsettled(0, ("home", "b"))
    assert made.unsettled(1, ("home", "b"))
    # A rewrite would not add a version that this agent cannot load.
    assert not orders(("b", "preparing")).unsettled(0, ("home",))
    made.order(b"b", generation("b", "retired"), 9)
    assert made.unsettled(0, ("home",))
    held(made, "b", 0, "dropped")
    assert not made.unsettled(0, ("home",))


def test_workers_report_and_withdraw_their_reports():
    made = Orders()
    report = GenerationReport(version="b", worker="w", progress="ready", serving="home", at=1)
    made.report(b"worker/w", report.to_json())
    assert made.workers() == {"w": report}
    made.report(b"worker/w", None)
    assert made.workers() == {}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"b", b"{", "bad_value"),
        (b"b", b'{"version":"b","pair":"p","phase":"gone","at":1}', "bad_value"),
        (b"c", generation("b", "active"), "key_mismatch"),
        (b"\xff", generation("b", "active"), "bad_value"),
    ],
)
def test_a_record_that_breaks_the_contract_changes_nothing(key, value, reason):
    made = orders(("b", "preparing"))
    with pytest.raises(BadRecord) as caught:
        made.order(key, value, 7)
    assert caught.value.reason == reason
    assert made.plan(HOME).preparing == "b"
    with pytest.raises(BadRecord):
        made.report(b"worker/other", GenerationReport(version="b", worker="w", progress="ready", at=1).to_json())


@given(st.lists(st.tuples(st.sampled_from(VERSIONS), st.sampled_from((*PHASES, None))), max_size=12))
def test_compaction_and_any_order_of_records_change_no_plan(ordered):
    whole, last = Orders(), Orders()
    latest = {version: place for place, (version, _) in enumerate(ordered)}
    for offset, (version, phase) in enumerate(ordered):
        value = phase and generation(version, phase)
        whole.order(version.encode(), value, offset)
        if latest[version] == offset and phase is not None:
            last.order(version.encode(), value, offset)
    for home in VERSIONS:
        plan = whole.plan(home)
        assert plan == last.plan(home)
        assert plan.active == plan.live[0]
        assert len(set(plan.live)) == len(plan.live)
    assert whole.standby == last.standby
