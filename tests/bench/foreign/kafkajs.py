"""The client of Node: its modules are installed once from pins, and a small program of `kafkajs_sender` sends."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench.foreign.records import Record
from tests.bench.support.rig import ROOT

SENDER = Path(__file__).with_name("kafkajs_sender")
FOLDER = ROOT / "var" / "bench" / "kafkajs"
TIMEOUT_S = 120.0


class NoNodeError(Exception):
    """Node or its modules are not there, and cannot be had."""


def ensure_modules() -> Path:
    """Return the folder of the program, after installing its modules where needed.

    Raises:
        NoNodeError: There is no Node, or its client cannot install.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NoNodeError("node or npm is not installed")
    pins = (SENDER / "package-lock.json").read_text()
    made_from = FOLDER / "made-from.json"
    if not made_from.exists() or made_from.read_text() != pins:
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(SENDER, FOLDER)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        answer = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
        if answer.returncode != 0:
            raise NoNodeError(f"npm cannot install kafkajs: {answer.stderr.strip()[-500:]}")
        made_from.write_text(pins)
    shutil.copy(SENDER / "send.js", FOLDER)
    return FOLDER


def send(folder: Path, bootstrap: str, topic: str, records: Sequence[Record], codec: str) -> None:
    """Send records.

    Raises:
        RuntimeError: The producer did not send all.
    """
    rows = [
        {
            "key": _base64(record.key),
            "value": _base64(record.value),
            "headers": [(name, _base64(content)) for name, content in record.headers],
        }
        for record in records
    ]
    order = json.dumps({"bootstrap": bootstrap, "topic": topic, "codec": codec, "records": rows})
    answer = subprocess.run(
        ["node", str(folder / "send.js")], input=order, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if answer.returncode != 0:
        raise RuntimeError(f"kafkajs ended with {answer.returncode}: {answer.stderr[-2_000:]}")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()
