"""The one rule of which signals count as liking."""

import ast
from pathlib import Path

import pytest

from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import POSITIVE_SIGNALS, SIGNAL_WEIGHTS, is_positive, positive_mask

ROOT = Path(__file__).resolve().parents[3]


def test_every_signal_of_the_contract_has_a_weight():
    assert set(SIGNAL_WEIGHTS) == set(SIGNALS)


@pytest.mark.parametrize("signal", SIGNALS)
def test_skips_and_dislikes_do_not_count_and_all_else_counts_once(signal):
    assert SIGNAL_WEIGHTS[signal] == (signal not in ("skip", "dislike"))
    assert is_positive(signal) == (signal in POSITIVE_SIGNALS) == (SIGNAL_WEIGHTS[signal] > 0)


def test_a_signal_that_is_not_known_does_not_count():
    assert not is_positive("signal 9")
    assert positive_mask(["listen", "skip", "signal 9", "save"]).tolist() == [True, False, False, True]
    assert positive_mask([]).shape == (0,)


def test_no_other_module_names_the_signals_that_do_not_count():
    """`sidestream.models.records.listen` and the state's layout define the signals; the world draws them."""
    owners = ("records/listen.py", "records/signals.py", "history/layout.py", "world/listening.py")
    modules = [path for top in ("models", "streams", "tokenizer") for path in (ROOT / top).rglob("*.py")]
    strangers = [
        path.name for path in modules if not path.as_posix().endswith(owners) and _names(path, {"skip", "dislike"})
    ]
    assert len(modules) > 100
    assert not strangers


def _names(path, words):
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(isinstance(node, ast.Constant) and node.value in words for node in nodes if _is_text(node))


def _is_text(node):
    return isinstance(getattr(node, "value", None), str)
