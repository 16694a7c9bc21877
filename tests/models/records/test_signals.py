"""The rule for positive signals."""

import ast
from pathlib import Path

import pytest

from sidestream.models.history import SIGNALS
from sidestream.models.records.signals import POSITIVE_SIGNALS, SIGNAL_WEIGHTS, is_positive, positive_mask

ROOT = Path(__file__).resolve().parents[3]
TOPS = ("models", "streams", "tokenizer")


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


# The literal type, the weights, and the codes of the stored histories.
DEFINERS = ("models/records/listen.py", "models/records/signals.py", "models/history/layout.py")
UNLIKED = {signal for signal, weight in SIGNAL_WEIGHTS.items() if weight == 0}


def test_no_other_module_judges_a_signal_by_its_name():
    """Importers and the world may produce these signals; whether one counts as liking is asked of the owner."""
    modules = {path.relative_to(ROOT).as_posix(): path for top in TOPS for path in (ROOT / top).rglob("*.py")}
    assert len(modules) > 100
    assert set(DEFINERS) <= set(modules)
    assert not [name for name, path in modules.items() if name not in DEFINERS and judges_by_name(path.read_text())]


@pytest.mark.parametrize(
    "code",
    [
        'if row.signal == "skip": pass',
        'kept = [row for row in rows if "dislike" != row.signal]',
        'liked = signal not in ("skip", "dislike")',
        'NEGATIVE = frozenset({"skip"})',
        'WEIGHTS = {"listen": 1, "dislike": -1}',
        'match signal:\n    case "skip": pass',
        'match signal:\n    case "listen" | "dislike": pass',
    ],
)
def test_judging_by_name_is_found_in_every_form(code):
    assert judges_by_name(code)


@pytest.mark.parametrize(
    "code",
    [
        'def f(x):\n    return "skip" if x else "listen"',
        'signal, share = "dislike", dice.between(10, 200)',
        'Play(signal="skip")',
        '"""A skip, or "dislike"."""',
        'if mode == "skipping": pass',
    ],
)
def test_producing_a_signal_is_not_judging(code):
    assert not judges_by_name(code)


def judges_by_name(code):
    """Whether code compares something with such a signal, or collects names of signals to look one up in."""
    return any(_is_unliked(part) for node in ast.walk(ast.parse(code)) for part in _looked_up(node))


def _looked_up(node):
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.MatchValue):
        return [node.value]
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Set | ast.Tuple | ast.List) and all(isinstance(part, ast.Constant) for part in node.elts):
        return node.elts
    return []


def _is_unliked(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in UNLIKED
