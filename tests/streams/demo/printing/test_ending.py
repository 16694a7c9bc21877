import json

import pytest

from sidestream.streams.demo.judging import Fault
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.demo.printing.ending import tell_commands, tell_verdict
from sidestream.streams.demo.printing.reach import demo_commands
from tests.streams.demo.printing.screens import screen_of
from tests.streams.demo.published import answer_of, start_of, upsert


@pytest.fixture
def ledger():
    found = Ledger()
    found.published([upsert("a", 0)])
    found.asking(start_of())
    return found


def told(call):
    screen, written = screen_of(80)
    result = call(screen)
    return written.getvalue(), result


def test_a_kept_promise_is_one_sentence_of_figures(ledger, tmp_path):
    ledger.received(answer_of("a", offsets=(1,)))
    text, verdict = told(lambda screen: tell_verdict(screen, ledger, ledger.figures(), tmp_path))
    assert "1 of 1 session-starts answered (0 by popularity), 0 invalid" in text
    assert verdict.exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_broken_promise_says_what_and_which_and_what_to_send(ledger, tmp_path):
    ledger.received(answer_of("nobody", offsets=(1,)))
    ledger.faults += [Fault("x", "s2", "u2", "b", "was excluded")] * 9
    text, verdict = told(lambda screen: tell_verdict(screen, ledger, ledger.figures(), tmp_path))
    text = " ".join(text.split())
    assert "failed: 10 faults in the candidates; first: set" in text
    assert "item nobody was not published in snapshot" in text
    assert text.count("also: set x (session s2 of u2): item b was excluded") == 4
    assert f"please send us {tmp_path / 'evidence.json'} and {tmp_path / 'worker.log'}" in text
    assert verdict.exit_code == 1
    evidence = json.loads((tmp_path / "evidence.json").read_text())
    assert evidence["sets"][0]["faults"][0]["item_id"] == "nobody"
    assert evidence["summary"]["invalid_candidates"] == 10


def test_a_session_without_an_answer_is_named(ledger, tmp_path):
    text, verdict = told(lambda screen: tell_verdict(screen, ledger, ledger.figures(), tmp_path))
    text = " ".join(text.split())
    assert "nan" not in text.split("failed")[0]
    assert "failed: 1 of 1 session-starts were not answered; first: session s of u (set " in text
    assert verdict.exit_code == 1


@pytest.mark.parametrize("again", [None, ("sidestream", "demo")])
def test_commands_reach_the_demo_and_say_how_it_stays(again):
    reached = ("--broker", "demo")
    text, _ = told(lambda screen: tell_commands(screen, demo_commands("listener-1", 7), reached, again))
    assert ("\nsidestream demo\n" in text) is (again is not None)
    joined = text.replace(" \\\n ", "")
    for command in ("state get listener-1", "send session-start", "tail candidates.v1"):
        assert any(f"--broker demo {command}" in line for line in joined.splitlines())
