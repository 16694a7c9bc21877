"""The table of rules in `streams/README.md`: every rule has one owner, which exists."""

import ast
import re
from typing import get_args

import pytest

from sidestream.models.records.candidates import FallbackReason
from tests.repository.pages import ROOT

PAGE = ROOT / "streams" / "README.md"
TABLE = re.search(r"<!-- rules -->\n(.*?)<!-- /rules -->", PAGE.read_text(), re.DOTALL)[1].splitlines()[2:]
ROWS = [re.fullmatch(r"\| (.+) \| `([\w/]+\.py):([\w.]+)` \|", line) for line in TABLE]


def defined(body, prefix=""):
    """Functions, classes, methods, fields and constants of a module, by dotted name."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from defined(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def test_the_table_is_whole():
    assert all(ROWS), [line for line, row in zip(TABLE, ROWS, strict=True) if row is None]
    assert len(ROWS) >= 30


def test_no_rule_is_listed_twice():
    for column in ([row[1] for row in ROWS], [(row[2], row[3]) for row in ROWS]):
        assert len(set(column)) == len(column)


@pytest.mark.parametrize("row", ROWS, ids=[row[1] if row else "unreadable" for row in ROWS])
def test_the_owner_of_a_rule_exists(row):
    _, path, owner = row.groups()
    assert (ROOT / path).is_file(), path
    assert owner in set(defined(ast.parse((ROOT / path).read_text()).body)), f"{path}:{owner}"


def test_every_reason_of_a_fallback_is_named():
    told = re.search(r"has a `fallback` with its reason:(.*?)\.\n", PAGE.read_text(), re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", told)) == set(get_args(FallbackReason))


def test_no_field_of_a_result_owns_a_rule():
    """A field says what came of a rule; a function decides it."""
    for rule, path, owner in (row.groups() for row in ROWS):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ClassDef):
                fields = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
                assert owner not in {f"{node.name}.{field}" for field in fields}, rule
