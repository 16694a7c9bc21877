"""Helpers for tests of the whole worker: a worker process, its HTTP routes, and plain clients."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from kafka.partitioner.default import murmur2

from sidestream.models.records import CandidateSet
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.settings import env_name

AT = 1_700_000_000_000
SCRIPT = Path(__file__).with_name("session_worker.py")
ROOT = SCRIPT.resolve().parents[3]


def wait_until(condition, timeout_s=20.0, what="condition"):
    """Return the first true value of a condition; fail with the last one after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s, last {value!r}")
        time.sleep(0.02)
    return value


class Rig:
    """One installation on a broker: its topics, a worker that may be killed and restarted, producers and readers."""

    script = SCRIPT

    def __init__(self, broker, topics, tmp_path, secrets=None, **flags):
        self.topics, self.clients, self.secrets = topics, Clients(broker.kafka), secrets or {}
        self.log = tmp_path / "worker.log"
        (self.port,) = free_ports(1)
        prefix = topics.listens.name.removesuffix("listen-events.v1")
        self.flags = {
            "data_dir": str(tmp_path / "data"),
            "kafka.bootstrap": broker.bootstrap,
            "kafka.session_timeout_ms": 3_000,
            "kafka.heartbeat_interval_ms": 300,
            "topics.prefix": prefix,
            "topics.user_partitions": topics.listens.partitions,
            "topics.item_partitions": topics.item_sids.partitions,
            "worker.app_id": f"{prefix}app",
            "web.port": self.port,
            "lane.batch_ms": 20,
            "lane.commit_interval_ms": 100,
            **flags,
        }
        self.process = None
        self._producer = None
        self._sets, self._consumer = [], None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self.script), json.dumps(self.flags)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ
                | {"PYTHONPATH": str(ROOT)}
                | {env_name(name): self.secrets[name] for name in self.secrets},
            )
        return self

    def ready(self, timeout_s=30.0):
        def answers():
            assert self.process.poll() is None, self.log.read_text()[-3_000:]
            return self.get("/readyz")[0] == 200

        wait_until(answers, timeout_s, f"worker ready ({self.get('/readyz')})")
        return self

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            status, body = exc.code, exc.read()
        except OSError:
            return 0, None
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def metric(self, name):
        _, text = self.get("/metrics")
        values = [line.split()[-1] for line in (text or "").splitlines() if line.split(" ")[0] == name]
        return float(values[0]) if values else 0.0

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(20)

    def send(self, topic, key, value):
        if self._producer is None:
            self._producer = self.clients.producer()
        value = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        return self._producer.send(topic.name, key=None if key is None else key.encode(), value=value)

    def flush(self):
        self._producer.flush(20)

    def item(self, item_id, **fields):
        value = {"item_id": item_id, "kind": "track", "title": f"Title {item_id}", "at": AT, **fields}
        return self.send(self.topics.catalog_items, item_id, value)

    def listen(self, user_id, item_id, at):
        value = {"event_id": f"{user_id}-{item_id}-{at}", "user_id": user_id, "item_id": item_id, "at": AT + at}
        return self.send(self.topics.listens, user_id, value)

    def session(self, session_id, user_id="u", **fields):
        value = {"session_id": session_id, "user_id": user_id, "at": AT + 5_000, "num_candidates": 10, **fields}
        return self.send(self.topics.session_starts, user_id, value)

    def sets(self):
        """All candidate sets so far, in the order read."""
        if self._consumer is None:
            self._consumer = self.reader(self.topics.candidates.name)
        for records in self._consumer.poll(timeout_ms=200).values():
            self._sets += [CandidateSet.from_json(record.value) for record in records]
        return self._sets

    def all_sets(self):
        """All candidate sets in the topic."""
        self.sets()
        ends = self._consumer.end_offsets(self._consumer.assignment())
        wait_until(lambda: self.sets() and all(self._consumer.position(p) >= end for p, end in ends.items()))
        return self._sets

    def answer(self, session_id, timeout_s=10.0):
        def found():
            return next((s for s in self.sets() if s.session_id == session_id), None)

        return wait_until(found, timeout_s, f"candidates of {session_id}")

    def reader(self, topic):
        consumer = self.clients.consumer()
        partitions = sorted(consumer.partitions_for_topic(topic))
        from kafka import TopicPartition

        consumer.assign([TopicPartition(topic, p) for p in partitions])
        consumer.seek_to_beginning()
        return consumer

    def letters(self, topic, count):
        consumer, found = self.reader(topic), []

        def enough():
            for records in consumer.poll(timeout_ms=200).values():
                found.extend(records)
            return len(found) >= count

        wait_until(enough, 20.0, f"{count} dead letters on {topic}")
        consumer.close()
        return found

    def partition_of(self, user_id):
        return (murmur2(user_id.encode()) & 0x7FFFFFFF) % self.topics.listens.partitions

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.close_clients()

    def close_clients(self):
        """Close the connections; the next use connects again."""
        for client in (self._producer, self._consumer):
            if client is not None:
                client.close()
        self._producer = self._consumer = None
