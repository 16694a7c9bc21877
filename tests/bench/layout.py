"""How far one has to walk: files of ours that one record passes, CPU of small commands, size of the front door.

A real worker on a real Kafka serves the shipped pair under a profile function (`layout_study.traced_worker`). One
listen is followed from its fetch to the table write, one item from its record to the snapshot, one session-start
to its candidates; of several records, the one that passed the most files is judged. What the worker does at the same
time (health, metrics, other lanes) is not counted; everything that the record's own lane calls on the event loop is.
With the calls in other threads (tokenizer, model) items and session-starts are reported without a limit.

Commands are measured by `layout_study.command_cpu`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics
from sidestream.streams.demo.shipped import shipped_pair
from tests.bench.layout_study.command_cpu import measure_commands
from tests.bench.layout_study.traced_worker import PATHS
from tests.bench.support.harness import Bench, at_most, option_parser, told
from tests.bench.support.rig import ROOT, Rig, open_rig, wait_until

PARTS = ("files", "commands", "repository")
LIMITS = {"listen": 15, "item": 24, "session": 18}
MAX_README_KB = 10
MAX_FILES_IN_FOLDER = 14


@dataclass
class TracedWorker:
    """A worker under the trace, and a user who talks with it."""

    rig: Rig
    topics: Topics
    port: int
    process: subprocess.Popen[bytes]
    trace: Path
    _sent: int = field(default=0)

    def send(self, topic: str, key: str, value: dict[str, Any]) -> None:
        """Publish one record and wait until the broker has it."""
        producer = self.rig.clients.producer()
        try:
            producer.send(topic, key=key.encode(), value=json.dumps(value).encode()).get(20)
        finally:
            producer.close()

    def listen(self) -> None:
        """Publish a listen and wait until it is durable and counted."""
        before = self.metric("sidestream_listens_total", 'outcome="applied"')
        at = time.time_ns() // 1_000_000
        listen = {"event_id": f"e{self._next()}", "user_id": "u1", "item_id": "i1", "at": at, "listened_ms": 60_000}
        self.send(self.topics.listens.name, "u1", listen)
        wait_until(lambda: self.metric("sidestream_listens_total", 'outcome="applied"') > before, 30, "the listen")

    def item(self) -> None:
        """Publish an item and wait until a snapshot has it."""
        before = self.metric("sidestream_catalogue_items")
        number = self._next()
        item_id = f"i{number}" if number > 1 else "i1"
        item = {
            "item_id": item_id,
            "kind": "episode",
            "title": f"Morning news {number}",
            "description": "A short programme of the day's news.",
            "at": time.time_ns() // 1_000_000,
        }
        self.send(self.topics.catalog_items.name, item_id, item)
        wait_until(lambda: self.metric("sidestream_catalogue_items") > before, 30, "the item")

    def session(self) -> None:
        """Start a session and wait until its candidates are counted."""
        before = self.metric("sidestream_sessions_total")
        start = {"session_id": f"s{self._next()}", "user_id": "u1", "at": time.time_ns() // 1_000_000}
        self.send(self.topics.session_starts.name, "u1", start)
        wait_until(lambda: self.metric("sidestream_sessions_total") > before, 30, "the candidates")

    def files(self, what: str, act: Callable[[], None], windows: int) -> list[str]:
        """Follow single records.

        Args:
            what: Key of `PATHS`.
            act: Publishes one record and waits for its end.
            windows: How many records, one after the other.

        Returns:
            The files of the record that passed the most.
        """
        most: list[str] = []
        for _ in range(windows):
            self.trace.unlink(missing_ok=True)
            self.process.send_signal(signal.SIGRTMIN + list(PATHS).index(what))
            act()
            wait_until(self.trace.exists, 20, "the trace")
            most = max(most, json.loads(self.trace.read_text()), key=len)
        return most

    def metric(self, name: str, labels: str = "") -> float:
        """Read the sum of a metric's samples from the worker."""
        _, text = self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{")) and labels in line]
        return sum(float(line.split()[-1]) for line in lines)

    def get(self, path: str) -> tuple[int, str]:
        """Ask the worker's web server; status 0 where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()
        except OSError:
            return 0, ""

    def _next(self) -> int:
        self._sent += 1
        return self._sent


@contextmanager
def traced_worker(rig: Rig) -> Iterator[TracedWorker]:
    """Start a worker under the trace, ready and warm."""
    prefix = rig.name("")
    topics = build_topics(TopicSettings(prefix=prefix, user_partitions=1, item_partitions=1))
    rig.create(list(topics))
    (port,) = free_ports(1)
    flags = {
        "kafka.bootstrap": rig.broker.bootstrap,
        "topics.prefix": prefix,
        "topics.user_partitions": 1,
        "topics.item_partitions": 1,
        "worker.app_id": f"{prefix}app",
        "web.port": port,
        "data_dir": str(rig.folder / "traced"),
        "artifacts": str(shipped_pair()),
    }
    trace, log = rig.folder / "trace.json", rig.folder / "traced.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.layout_study.traced_worker", json.dumps(flags), str(trace)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    rig.processes.append(process)
    worker = TracedWorker(rig, topics, port, process, trace)
    wait_until(lambda: worker.get("/readyz")[0] == 200, 120, f"worker ready (see {log})")
    for act in (worker.item, worker.item, worker.listen, worker.session, worker.listen, worker.session):
        act()
    try:
        yield worker
    finally:
        process.terminate()
        process.wait(30)


def wide_folders(root: Path) -> dict[str, int]:
    """Count the modules of the folders that hold more than the bound."""
    folders = {
        path.parent for top in ("streams", "models", "tokenizer", "tests") for path in (root / top).rglob("*.py")
    }
    counts = {str(folder.relative_to(root)): len(list(folder.glob("*.py"))) for folder in sorted(folders)}
    return {folder: count for folder, count in counts.items() if count > MAX_FILES_IN_FOLDER}


def foreign_names(root: Path, out: Path) -> list[str]:
    """Build the wheel and list the top-level names in it that are not ours alone."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), "build", "--wheel", "--quiet", "--out-dir", str(out), str(root)], check=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    return sorted(top for top in tops if top != "sidestream" and not top.startswith("sidestream-"))


def follow_records(bench: Bench, options: Namespace) -> None:
    """Count the files that records pass, and judge them."""
    with open_rig(options.bootstrap) as rig, traced_worker(rig) as worker:
        acts = {
            "listen": worker.listen,
            "item": worker.item,
            "session": worker.session,
            "item_with_threads": worker.item,
            "session_with_threads": worker.session,
        }
        for what, act in acts.items():
            files = worker.files(what, act, 1 if options.smoke else 5)
            bench.results[f"files_{what}"] = files
            limit = LIMITS.get(what)
            check = told(f"files_{what}", len(files)) if limit is None else at_most(f"files_{what}", len(files), limit)
            bench.checks.append(check)
            bench.say(f"{what}: {len(files)} files: {' '.join(files)}")


def look_at_repository(bench: Bench) -> None:
    """Measure README, folders and wheel, and judge them."""
    bench.checks.append(at_most("readme_kb", (ROOT / "README.md").stat().st_size / 1000, MAX_README_KB))
    bench.results["folders_wide"] = wide_folders(ROOT)
    bench.checks.append(at_most("folders_wide", len(bench.results["folders_wide"]), 0))
    with tempfile.TemporaryDirectory() as folder:
        bench.results["collisions"] = foreign_names(ROOT, Path(folder))
    bench.checks.append(at_most("collisions", len(bench.results["collisions"]), 0))


def main() -> int:
    """Run the benchmark."""
    parser = option_parser("How many files a record passes, and how quickly small commands start.")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"what is measured: {', '.join(PARTS)}")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    bench = Bench("layout", options)
    if "files" in options.parts:
        follow_records(bench, options)
    if "commands" in options.parts:
        measure_commands(bench, options.rounds or (1 if options.smoke else 15))
    if "repository" in options.parts:
        look_at_repository(bench)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
