"""Commands build on the demo, never the other way round; examples are written as users would, without commands."""

import ast
from pathlib import Path

import pytest

import sidestream.streams

COMMANDS = f"{sidestream.streams.__name__}.cli"


@pytest.mark.parametrize("folder", ["demo", "examples"])
def test_it_imports_no_command(folder):
    found = []
    for path in (Path(sidestream.streams.__file__).parent / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [f"{path.name}: {name}" for name in names if f"{name}.".startswith(f"{COMMANDS}.")]
    assert found == []
