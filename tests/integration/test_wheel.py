"""The wheel, installed alone in a fresh environment, runs the demo from an empty folder, with Java and without."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("streams", "models", "tokenizer")
NAMESPACE = "sidestream"
VERSIONS = ["3.11", "3.12", "3.13"]
# Builds and installs take a while on a busy machine, and so does the demo.
STEP_S = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def run(command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=STEP_S, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2_000:]}{done.stderr[-4_000:]}"
    return done


@pytest.fixture(scope="module")
def uv():
    found = Path(sys.executable).parent / "uv"
    if not found.exists():
        pytest.skip("no uv here; run `make install`")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, uv):
    # From a copy without what earlier builds left: setuptools packs what it finds in `build`.
    source, built = tmp_path_factory.mktemp("source") / "sidestream", tmp_path_factory.mktemp("dist")
    left_out = shutil.ignore_patterns(".venv", ".git", "build", "dist", "var", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=left_out, symlinks=True)
    run([uv, "build", "--quiet", "--wheel", "-o", built], cwd=source)
    (made,) = built.glob("*.whl")
    return made


def python_of(version):
    """An interpreter of this version, if this machine has one."""
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{version}.*/bin/python"))
    found = shutil.which(f"python{version}")
    code = "import sys; print(sys.version_info[:2])"
    wanted = str(tuple(map(int, version.split("."))))
    for candidate in (*pyenv, *([found] if found else [])):
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == wanted:
            return candidate
    return None


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request, tmp_path_factory, uv, wheel):
    python = python_of(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} on this machine")
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    run([uv, "venv", "--quiet", "--python", python, folder / "venv"])
    run([uv, "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python", f"{wheel}[cpu,embedded]"])
    return folder / "venv" / "bin" / "sidestream"


def test_the_wheel_contains_the_packages_and_their_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {NAMESPACE}
    own = [path.relative_to(ROOT).as_posix() for path in (ROOT / NAMESPACE).iterdir() if path.is_file()]
    wanted = own + [
        f"{NAMESPACE}/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts
    ]
    assert f"{NAMESPACE}/streams/broker/kafka/server.properties" in wanted
    assert sorted(set(wanted) - names) == []


def test_the_long_description_is_the_readme(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        head, _, body = archive.read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head.splitlines()
    assert body.strip() == (ROOT / "README.md").read_text().strip()


def has_kafka():
    return shutil.which("java") is not None and (
        shutil.which("mvn") is not None or Path("~/.cache/sidestream").exists()
    )


@pytest.mark.parametrize("broker", ["kafka", "embedded"])
def test_the_demo_runs_from_an_empty_folder(installed, tmp_path, broker):
    if broker == "kafka" and not has_kafka():
        pytest.skip("no Java here, or nothing to fetch Kafka's jars with")
    # Without Java: a path on which there is nothing but Python.
    path = os.environ["PATH"] if broker == "kafka" else str(installed.parent)
    folder = tmp_path / "empty"
    folder.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    done = run([installed, "demo", "--once", "--json"], cwd=folder, env=env)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["broker"], summary["answered_share"], summary["invalid_candidates"]) == (broker, 1.0, 0)
    stand_in = "the embedded broker is used instead of Apache Kafka"
    assert (stand_in in " ".join(done.stderr.split())) == (broker == "embedded")
    assert "Warning" not in done.stderr
    assert [each.name for each in folder.iterdir()] == ["var"]


def test_without_java_and_without_the_library_both_remedies_are_named(installed, tmp_path, uv):
    python = installed.parent / "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": str(installed.parent)}
    run([uv, "pip", "uninstall", "--quiet", "--python", python, "confluent-kafka"])
    try:
        done = subprocess.run(
            [installed, "up"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=STEP_S
        )
    finally:
        run([uv, "pip", "install", "--quiet", "--python", python, "confluent-kafka"])
    assert done.returncode == 1
    (line,) = (each for each in done.stderr.splitlines() if each.startswith("error: "))
    assert "Java 17 or newer" in line
    assert "pip install 'sidestream[embedded]'" in line
