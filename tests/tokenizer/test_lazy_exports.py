"""Packages with lazy exports: the exported names match those that type checkers see."""

import ast
import importlib
from pathlib import Path

import pytest

from sidestream.tokenizer.lazy_exports import lazy_exports

ROOT = Path(__file__).resolve().parents[2]
LAZY = [
    path
    for package in ("streams", "models", "tokenizer")
    for path in sorted((ROOT / package).rglob("__init__.py"))
    if "lazy_exports(" in path.read_text()
]


@pytest.mark.parametrize("path", LAZY, ids=[str(path.parent.relative_to(ROOT)) for path in LAZY])
def test_every_name_is_the_one_that_type_checkers_see(path):
    package = importlib.import_module(".".join(("sidestream", *path.parent.relative_to(ROOT).parts)))
    block = next(node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(homes) == sorted(package.__all__)
    modules = {entry.stem for entry in path.parent.iterdir()}
    for name, home in homes.items():
        assert getattr(package, name) is getattr(importlib.import_module(home), name)
        assert name not in modules, "the import system would bind the module instead"


def test_an_unknown_name_raises_like_a_module_of_python():
    with pytest.raises(AttributeError, match=r"module 'some\.package' has no attribute 'absent'"):
        lazy_exports("some.package", {})("absent")
