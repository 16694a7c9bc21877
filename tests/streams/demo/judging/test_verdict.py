import pytest

from sidestream.streams.demo.judging import Fault, judge_run
from sidestream.streams.demo.judging.verdict import busy_machine

FIGURES = {
    "sessions": 1_116,
    "candidate_sets": 1_116,
    "unjudged_sets": 0,
    "fallback_reasons": {},
    "late_removals": 0,
    "late_removal_s": 0.0,
}
BUSY = "load 8.2 on 2 CPUs"


def test_a_run_that_kept_its_promises_ends_with_0_and_says_nothing():
    verdict = judge_run({**FIGURES, "fallback_reasons": {"no_history": 96}}, [], [], BUSY)
    assert (verdict.exit_code, verdict.failures, verdict.notes) == (0, (), ())


def test_overload_is_told_in_a_sentence_and_ends_with_0():
    verdict = judge_run({**FIGURES, "fallback_reasons": {"overload": 200, "deadline": 16}}, [], [], BUSY)
    assert verdict.exit_code == 0
    assert verdict.notes == (
        "216 of 1,116 answers came from the popularity list because this machine was busy (load 8.2 on 2 CPUs): "
        "200 overload, 16 past the deadline.",
    )


def test_lateness_on_a_machine_that_is_not_busy_does_not_blame_it():
    figures = {**FIGURES, "fallback_reasons": {"deadline": 1}, "late_removals": 2, "late_removal_s": 2.34}
    verdict = judge_run(figures, [], [], None)
    assert verdict.exit_code == 0
    assert "because their time was up" in verdict.notes[0]
    assert (
        "2 candidates came up to 2.3 s after the removal of the item (expected: 1 s); each was in" in verdict.notes[1]
    )


@pytest.mark.parametrize("reason", ["engine_error", "state_error", "no_model"])
@pytest.mark.parametrize("count", [1, 1_116])
def test_a_model_that_fails_is_a_broken_promise(reason, count):
    verdict = judge_run({**FIGURES, "fallback_reasons": {reason: count, "overload": 1}}, [], [], None)
    assert verdict.exit_code == 1
    assert verdict.failures == (
        f"{count:,} of 1,116 answers came from the popularity list because of {reason}; the worker's log says more.",
    )


@pytest.mark.parametrize(
    ("change", "faults", "unanswered", "sentence"),
    [
        (
            {},
            [],
            ["session s of u (set x)"],
            "1 of 1,116 session-starts were not answered; first: session s of u (set x).",
        ),
        (
            {},
            [Fault("x", "s", "u", "a", "was removed")],
            [],
            "1 fault in the candidates; first: set x (session s of u)",
        ),
        ({"unjudged_sets": 2}, [], [], "2 candidate sets could not be judged"),
    ],
)
def test_a_broken_promise_ends_with_1_and_a_sentence(change, faults, unanswered, sentence):
    verdict = judge_run({**FIGURES, **change}, faults, unanswered, BUSY)
    assert verdict.exit_code == 1
    assert len(verdict.failures) == 1
    assert sentence in verdict.failures[0]


def test_a_machine_is_busy_when_more_wants_to_run_than_there_are_cpus(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr("os.getloadavg", lambda: (8.23, 0.0, 0.0))
    assert busy_machine() == "load 8.2 on 2 CPUs"
    monkeypatch.setattr("os.getloadavg", lambda: (1.9, 9.0, 9.0))
    assert busy_machine() is None
