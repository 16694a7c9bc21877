"""An installation for benchmarks: topics with a catalogue, and whole workers with a constant model as processes."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from tests.bench.support.harness import cpu_seconds
from tests.bench.support.rig import Rig


class Installation:
    """Topics under a prefix of their own, a catalogue, and the settings that all workers share.

    Args:
        rig: The broker.
        partitions: Of the topics keyed by user.
        items: In the catalogue.
        topic_config: Of all topics, beside their own.
        flags: Settings of all workers by dotted name.
    """

    def __init__(
        self,
        rig: Rig,
        partitions: int,
        items: int,
        topic_config: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> None:
        self.rig = rig
        given = flags or {}
        prefix = rig.name("")
        self.settings = TopicSettings(
            prefix=prefix,
            user_partitions=partitions,
            **{name: given[f"topics.{name}"] for name in ("partitioner",) if f"topics.{name}" in given},
        )
        self.topics = build_topics(self.settings)
        rig.create([replace(spec, config={**(topic_config or {}), **spec.config}) for spec in self.topics])
        self.app_id = f"{prefix}app"
        self.flags = {
            "kafka.bootstrap": rig.broker.bootstrap,
            "topics.prefix": prefix,
            "topics.user_partitions": partitions,
            "worker.app_id": self.app_id,
            **given,
        }
        catalogue = [(b"item-%d" % number, _item(number)) for number in range(items)]
        spec = self.topics.catalog_items
        rig.publish(spec.name, [catalogue[first :: spec.partitions] for first in range(spec.partitions)])

    def worker(self, name: str = "worker", flags: Mapping[str, Any] | None = None) -> "Worker":
        """Make a worker with a folder of its own; it is not started.

        Args:
            name: Of the worker and its folder.
            flags: Settings of this worker alone.
        """
        return Worker(self, name, flags or {})


def _item(number: int) -> bytes:
    item = {"item_id": f"item-{number}", "kind": "track", "title": f"Made up {number}", "at": 1_700_000_000_000}
    return json.dumps(item).encode()


class Worker:
    """A worker that is stopped and started again over the same topics and in the same folder.

    Args:
        installation: Its topics and settings.
        name: Of the worker.
        flags: Settings of its own.
    """

    def __init__(self, installation: Installation, name: str, flags: Mapping[str, Any]) -> None:
        self.rig, self.topics, self.name = installation.rig, installation.topics, name
        (self.port,) = free_ports(1)
        self.folder = self.rig.folder / f"{installation.settings.prefix}{name}"
        self.flags = {**installation.flags, "data_dir": str(self.folder), "web.port": self.port, **flags}
        self.process: subprocess.Popen[bytes] | None = None
        self.progress = Path()
        self.session_cpu_ms: list[float] = []
        self._starts = 0

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self._starts += 1
        self.progress = self.folder.with_name(f"{self.folder.name}-{self._starts}.progress")
        self.process = self.rig.start("worker", {"flags": self.flags, "progress": str(self.progress)})

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self.process is None or self.process.poll() is not None

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask a page: status and body; status 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()
        except OSError:
            return 0, b""

    def is_ready(self) -> bool:
        """Tell whether `/readyz` says yes."""
        return self.get("/readyz")[0] == 200

    def standbys(self) -> dict[int, int | None]:
        """Tell how many changelog records each of its standbys is behind; none where that is not known."""
        status, body = self.get("/readyz")
        found: Iterable[dict[str, Any]] = json.loads(body).get("standbys", ()) if status else ()
        return {one["partition"]: one["behind"] for one in found}

    def owns(self, user: str) -> bool:
        """Tell whether it owns the partition of a user."""
        return self.get(f"/v1/users/{user}/state")[0] in (200, 404)

    def metrics(self) -> str:
        """Read `/metrics`; empty where nobody listens."""
        return self.get("/metrics")[1].decode()

    def metric(self, name: str) -> float:
        """Read one sample by its full name, labels included; 0 where it is not there."""
        lines = (line.rpartition(" ") for line in self.metrics().splitlines())
        return next((float(value) for found, _, value in lines if found == name), 0.0)

    def stop(self, how: int = signal.SIGTERM) -> int | None:
        """End it, and wait until it is gone; returns its exit code."""
        if self.process is None:
            return None
        self.process.send_signal(how)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill it, as a crash would; returns at once."""
        if self.process is not None:
            self.process.kill()

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken."""
        return cpu_seconds(self.process.pid) if self.process is not None else 0.0
