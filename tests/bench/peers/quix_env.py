"""The environment of the peers that need other libraries than the product (quixstreams, FAISS), made once from pins."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "deploy" / "locks" / "bench.txt"
FOLDER = ROOT / "var" / "bench" / "quix"


def find_python() -> str | None:
    """Return the environment's Python; none where it is not made, or made from other pins."""
    python, made_from = FOLDER / "bin" / "python", FOLDER / "made-from.txt"
    try:
        is_current = made_from.read_text() == LOCK.read_text()
    except OSError:
        return None
    return str(python) if is_current and python.exists() else None


def ensure_python() -> str:
    """Return the environment's Python, after making it where needed.

    Raises:
        RuntimeError: It cannot be made, for instance without a package index.
    """
    if (python := find_python()) is not None:
        return python
    new, uv = FOLDER / "bin" / "python", Path(sys.executable).with_name("uv")
    pip = [str(uv), "pip", "install", "--python", str(new)] if uv.exists() else [str(new), "-m", "pip", "install"]
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
        [*pip, "--quiet", "--require-hashes", "-r", str(LOCK)],
    )
    for step in steps:
        answer = subprocess.run(step, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"the environment of the peers cannot be made: {answer.stderr.strip()[-1_000:]}")
    (FOLDER / "made-from.txt").write_text(LOCK.read_text())
    return str(new)
