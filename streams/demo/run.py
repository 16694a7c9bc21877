"""The demo from start to end: broker, topics, worker, a played log, what a person should see, one summary line."""

import asyncio
import itertools
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sidestream.models.data import LogFolder
from sidestream.models.evaluation.report import table
from sidestream.models.records import ItemSids
from sidestream.streams.broker import RunningBroker, start_broker
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.demo.place import KAFKA
from sidestream.streams.demo.play import AnswerReader, Pass, play
from sidestream.streams.demo.prepare import Programme
from sidestream.streams.demo.tell import choose_answer, tell_answer, tell_sids, tell_state
from sidestream.streams.errors import SidestreamError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.replay.publisher import TopicPublisher
from sidestream.streams.settings import Settings, flags_of
from sidestream.streams.worker.process import WorkerProcess

MAX_FAULTS_TOLD = 5
_ITEMS_METRIC = "sidestream_catalogue_items "


class Demo:
    """One demo.

    Args:
        settings: All settings; the broker's and the worker's folders are put under the demo's own.
        programme: What is played and what serves it.
        place: Folder of the demo; its broker and state are made anew.
        console: Where people read.
    """

    def __init__(self, settings: Settings, programme: Programme, place: Path, console: Console) -> None:
        self._settings = settings
        self._programme = programme
        self._place = place
        self._console = console
        self._ledger = Ledger()
        # On an external Kafka the demo must not meet anybody's topics, nor those of an earlier demo.
        self._topics = settings.topics.model_copy(update={"prefix": f"demo-{time.time_ns() // 1_000_000}."})
        self._started_s = time.monotonic()

    def run(self, *, once: bool) -> dict[str, Any]:
        """Run it.

        Args:
            once: End after one pass over the log; otherwise go on until Ctrl-C.

        Returns:
            The summary of the first pass.
        """
        with ExitStack() as stack:
            broker = stack.enter_context(self._broker())
            worker = stack.enter_context(self._worker(broker))
            reader = AnswerReader(broker.kafka, self._topics, self._ledger)
            stack.callback(reader.close)
            start_s = time.monotonic() - self._started_s
            self._play(broker, worker, 0, self._settings.demo.play_s)
            reader.wait(self._settings.demo.answer_wait_s)
            worker.require_running()
            summary = {**self._summary(broker), "start_s": round(start_s, 1)}
            self._tell(broker, worker)
            self._tell_figures(summary)
            if not once:
                self._go_on(broker, worker, reader)
        return summary

    def _go_on(self, broker: RunningBroker, worker: WorkerProcess, reader: AnswerReader) -> None:
        """Play pass after pass until Ctrl-C, which is the ordinary end here."""
        try:
            for number in itertools.count(1):
                self._say("playing on, with new listens every pass; Ctrl-C ends it")
                self._play(broker, worker, number, self._settings.demo.again_s)
                reader.wait(self._settings.demo.answer_wait_s)
                self._tell_figures(self._summary(broker))
        except KeyboardInterrupt:
            self._say("ending")

    @contextmanager
    def _broker(self) -> Iterator[RunningBroker]:
        settings = self._settings.broker.model_copy(update={"data_dir": self._place / KAFKA, "port": 0})
        if not self._settings.kafka.bootstrap:
            self._say("starting a broker …")
            shutil.rmtree(self._place / KAFKA, ignore_errors=True)
        broker = start_broker(settings, self._settings.kafka)
        try:
            if broker.note:
                self._say(f"[yellow]{escape(broker.note)}[/yellow]")
            self._say(f"broker: {_BROKERS[broker.kind]} at {broker.bootstrap}")
            admin = broker.topic_admin()
            made = create_topics(admin, build_topics(self._topics), self._topics.replication_factor)
            if broker.embedded is None:
                admin.close()
            self._say(f"topics: {len(made)} created, names begin with {self._topics.prefix}")
            yield broker
        finally:
            broker.stop()

    @contextmanager
    def _worker(self, broker: RunningBroker) -> Iterator[WorkerProcess]:
        shutil.rmtree(self._place / "state", ignore_errors=True)
        flags = {
            **flags_of(broker.kafka, "kafka."),
            "topics.prefix": self._topics.prefix,
            "worker.app_id": f"{self._topics.prefix}worker",
            # The log is from another time: items expire and are new by its clock.
            "worker.clock": "log",
            "web.port": free_ports(1)[0],
            "data_dir": str(self._place / "state"),
            "artifacts": str(self._programme.pair.resolve()),
        }
        log = self._place / "worker.log"
        log.unlink(missing_ok=True)
        with WorkerProcess(flags, log) as worker:
            worker.wait_ready(self._settings.demo.ready_wait_s)
            self._say(f"worker: ready at {worker.url} (log: {log})")
            yield worker

    def _play(self, broker: RunningBroker, worker: WorkerProcess, number: int, seconds: float) -> None:
        folder: LogFolder = self._programme.folder
        manifest = folder.manifest
        how = Pass(number, seconds, max((manifest.last_at or 0) - (manifest.first_at or 0), 1))
        counts = manifest.counts
        self._say(
            f"playing {manifest.name}: {counts.items:,} items, {counts.listens:,} listens, {counts.sessions:,} "
            f"session-starts in {seconds:.0f} s ({manifest.events_are})"
        )
        told = -1

        def progress(done: int, total: int) -> None:
            nonlocal told
            tenth = math.floor(10 * done / total)
            if tenth > told:
                told = tenth
                answered, sent = len(self._ledger.answered), self._ledger.num_sessions
                self._say(f"  {done:>7,} of {total:,} rows; {answered:,} of {sent:,} session-starts answered")

        async def run() -> None:
            publisher = TopicPublisher(Clients(broker.kafka), build_topics(self._topics))
            async with publisher:
                known = partial(_knows, worker, time.monotonic() + self._settings.demo.ready_wait_s)
                await play(folder, publisher, self._ledger, how, known, progress)

        asyncio.run(run())

    def _summary(self, broker: RunningBroker) -> dict[str, Any]:
        figures = {"broker": broker.kind, **self._ledger.figures()}
        metrics = self._programme.metrics
        for name in ("recall_at_10", "recall_at_30"):
            for ranker in ("", "popularity_", "item_knn_"):
                if f"{ranker}{name}" in metrics:
                    figures[f"{ranker}{name}"] = round(metrics[f"{ranker}{name}"], 4)
        return figures

    def _tell(self, broker: RunningBroker, worker: WorkerProcess) -> None:
        found = choose_answer(self._ledger)
        if found is None:
            self._say("[red]no session-start was answered[/red]; see the worker's log")
            return
        status, state = worker.get(f"/v1/users/{found.start.user_id}/state")
        if status == 200:
            tell_state(self._console, self._ledger, found.start.user_id, state)
        reserved = next((c.item_id for c in found.answer.candidates if c.reserved), None)
        sids = _latest_sids(Clients(broker.kafka), self._topics)
        tell_sids(self._console, sids, found.answer.tokenizer_version, reserved)
        tell_answer(self._console, self._ledger, found)
        if "evaluation" in self._programme.metrics:
            heads, rows = table(self._programme.metrics["evaluation"])
            self._console.print("\n[bold]Held-out next items[/bold] (x: items of the history left out)")
            for row in ([*heads], *rows):
                self._console.print("  " + "".join(f"{cell:<18}" for cell in row))
            self._console.print(
                "  ± one standard error; generator is what serves; dense_head scores every item, no SIDs"
            )

    def _tell_figures(self, summary: dict[str, Any]) -> None:
        for fault in self._ledger.invalid[:MAX_FAULTS_TOLD]:
            self._say(f"[red]invalid:[/red] {escape(fault)}")
        reasons = ", ".join(f"{count:,} {_REASONS.get(why, why)}" for why, count in summary["fallback_reasons"].items())
        fallbacks = f"{summary['fallback_sets']:,} by popularity" + (f": {reasons}" if reasons else "")
        self._console.print(
            f"\n{summary['candidate_sets']:,} of {summary['sessions']:,} session-starts answered "
            f"({fallbacks}), {summary['invalid_candidates']} invalid candidates, "
            f"p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms from session-start to candidates"
        )

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started_s:6.1f} s[/dim]  {text}")


_REASONS = {
    "no_history": "no listens yet",
    "empty_catalogue": "before any item was known",
    "deadline": "past the deadline",
}
_BROKERS = {
    "kafka": "Apache Kafka, started here",
    "embedded": "embedded librdkafka broker (a stand-in: no compaction, no isolation)",
    "external": "the given Kafka",
}


def _knows(worker: WorkerProcess, until_s: float, num_items: int) -> bool:
    known = _items_known(worker)
    if known < num_items:
        worker.require_running()
        if time.monotonic() > until_s:
            msg = f"worker knows {known:,} of {num_items:,} items, and no more are coming (log: {worker.log_file})"
            raise SidestreamError(msg)
    return known >= num_items


def _items_known(worker: WorkerProcess) -> int:
    _, text = worker.get("/metrics")
    for line in str(text or "").splitlines():
        if line.startswith(_ITEMS_METRIC):
            return int(float(line.split()[1]))
    return 0


def _latest_sids(clients: Clients, topics: TopicSettings) -> list[ItemSids]:
    latest: dict[bytes, bytes | None] = {}
    for record in read_topic(clients, build_topics(topics).item_sids.name):
        latest[record.key or b""] = record.value
    return [ItemSids.from_json(value) for value in latest.values() if value is not None]
