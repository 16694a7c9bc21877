"""The editable install: other projects see the package and its types, and nothing else of the repository."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USER = "from sidestream.streams.dotted import nest\nreveal_type(nest({}))\n"


@pytest.fixture(scope="module", autouse=True)
def _editable():
    found = json.loads(importlib.metadata.distribution("sidestream").read_text("direct_url.json") or "{}")
    if not found.get("dir_info", {}).get("editable"):
        pytest.skip("sidestream is not installed editable")


def outside(tmp_path, *command):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )


def test_a_type_checker_in_another_project_sees_the_types(tmp_path):
    """The import hook of an editable install is invisible to type checkers: `sidestream` was an unknown module."""
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    done = outside(tmp_path, "-m", "mypy", "--strict", "user.py")
    assert 'Revealed type is "dict[str, Any]"' in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_another_project_can_import_the_package_and_no_other_folder(tmp_path):
    names = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier()]
    program = (
        "import importlib.util, sidestream.models.data.rows as rows\n"
        f"found = [name for name in {names} if (spec := importlib.util.find_spec(name)) and "
        f"any({str(ROOT)!r} + '/' in str(place) for place in spec.submodule_search_locations or ())]\n"
        "print(found, rows.__file__)"
    )
    done = outside(tmp_path, "-c", program)
    imported, file = done.stdout.strip().rsplit(" ", 1)
    assert imported == "['sidestream']", done.stderr
    assert Path(file).resolve() == ROOT / "models" / "data" / "rows.py"
