"""Who may import whom: packages, the folders of `streams/`, files; the serving path without torch; one import name."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Who may import whom: streams -> models -> tokenizer.
ALLOWED = {"tokenizer": set(), "models": {"tokenizer"}, "streams": {"tokenizer", "models"}}
# The folders and files of streams/ from the lowest to the highest: each imports only what stands before it.
# A settings.py is a leaf that anything may read: it imports other settings and errors alone.
ORDER = (
    "errors",
    "dotted",
    "setting_aliases",
    "terminal",
    "runtime",
    "running",
    "contracts",
    "kafka/security",
    "kafka",
    "kafka/lasting",
    "broker",
    "listens/table",
    "listens/durable",
    "listens/erasure",
    "listens/restore",
    "listens",
    "group",
    "sessions",
    "popularity",
    "catalogue",
    "tokenizing/live",
    "tokenizing",
    "generations",
    "setting_aliases",
    "settings",
    "client",
    "worker/watch",
    "worker/web",
    "worker",
    "app",
    "operate/deadletters",
    "operate/reconcile",
    "operate/recording",
    "operate/rollout",
    "operate/states",
    "operate",
    "replay",
    "demo",
    "examples",
    "cli",
)
MAX_FILES_IN_FOLDER = 14
# The only modules that import torch; nothing that serves may reach them.
TORCH_MODULES = (
    "models/network.py",
    "models/objectives.py",
    "models/export.py",
    "models/reexport.py",
    "models/training/",
    "models/decoding/graph.py",
    "models/decoding/operators.py",
)
HEAVY = ("torch", "onnx", "onnxscript", "safetensors.torch", "matplotlib")


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """The dotted names that a file imports; `from a import b` gives both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _name(path: Path) -> str:
    parts = ("sidestream", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


STREAMS = [path for path in _modules("streams") if path != ROOT / "streams" / "__init__.py"]
MODULES = {_name(path): path for package in ALLOWED for path in _modules(package)}


def _targets(path: Path) -> set[Path]:
    """Our own files that a file imports; `from package import module` means the module, not the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in dotted}
    return {MODULES[name] for name in found if name in MODULES} - {path}


def _place(path: Path) -> str:
    """The entry of ORDER that a file of streams/ belongs to."""
    parts = path.relative_to(ROOT / "streams").with_suffix("").parts
    if len(parts) == 1:
        return parts[0]
    folders = ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
    return next((folder for folder in folders if folder in ORDER), folders[0])


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_along_the_arrows(package):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(package)
        for name in _imports(path)
        if name.startswith("sidestream.")
        and (top := name.split(".")[1]) in ALLOWED
        and top != package
        and top not in ALLOWED[package]
    ]
    assert not wrong


def test_folders_of_streams_import_only_what_stands_below_them():
    rank = {folder: number for number, folder in enumerate(ORDER)}
    wrong = [
        f"{path.relative_to(ROOT)} imports {target.relative_to(ROOT)}"
        for path in STREAMS
        for target in _targets(path)
        if target in STREAMS and target.name != "settings.py" and rank[_place(target)] > rank[_place(path)]
    ]
    assert not wrong


def test_the_settings_of_a_folder_import_settings_alone():
    free = {"errors", "dotted"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {target.relative_to(ROOT)}"
        for path in _modules("streams")
        if path.name == "settings.py" and path.parent != ROOT / "streams"
        for target in _targets(path)
        if target.is_relative_to(ROOT / "streams") and target.name != "settings.py" and target.stem not in free
    ]
    assert not wrong


def test_every_folder_of_streams_has_its_place_in_the_order():
    places = {_place(path) for path in STREAMS}
    assert places <= set(ORDER)
    assert set(ORDER) <= places


def test_no_circle_of_files():
    remaining = {path: _targets(path) for path in MODULES.values()}
    while leaves := [path for path, targets in remaining.items() if not targets & remaining.keys()]:
        for path in leaves:
            del remaining[path]
    assert sorted(str(path.relative_to(ROOT)) for path in remaining) == []


def test_no_folder_is_too_wide():
    wide = {
        str(folder.relative_to(ROOT)): count
        for package in (*ALLOWED, "tests")
        for folder in {path.parent for path in _modules(package)}
        if (count := len(list(folder.glob("*.py")))) > MAX_FILES_IN_FOLDER
    }
    assert not wide


def test_nothing_is_imported_under_its_old_top_level_name():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in (*ALLOWED, "tests")
        for path in _modules(package)
        for name in _imports(path)
        if name.split(".")[0] in ALLOWED
    ]
    assert not wrong


def test_torch_stays_in_its_modules():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in ALLOWED
        for path in _modules(package)
        if not str(path.relative_to(ROOT)).startswith(TORCH_MODULES)
        for name in _imports(path)
        if name.split(".")[0] in ("torch", "onnxscript")
    ]
    assert not wrong


def test_serving_path_loads_without_torch():
    code = (
        "import sys, json\n"
        "import sidestream.streams.app, sidestream.streams.cli.main, sidestream.streams.replay.driver\n"
        "import sidestream.models.engine, sidestream.models.recommend\n"
        "import sidestream.tokenizer.artifact, sidestream.tokenizer.content\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in _modules(package)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_packages_declare_their_types():
    assert (ROOT / "sidestream" / "py.typed").exists()
    for package in ALLOWED:
        assert (ROOT / "sidestream" / package).resolve() == ROOT / package
        assert list(pkgutil.iter_modules([str(ROOT / "sidestream" / package)]))


def test_folders_of_tests_mirror_those_of_the_packages():
    """A folder that holds data alone, without a test, may have any place."""
    tests = {
        file.parent.relative_to(ROOT / "tests") for top in ALLOWED for file in (ROOT / "tests" / top).rglob("test_*.py")
    }
    assert sorted(str(folder) for folder in tests if not (ROOT / folder).is_dir()) == []
