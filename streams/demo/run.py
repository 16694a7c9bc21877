"""The demo from start to end: broker, topics, worker, a played log, what a person should see, and the verdict."""

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestream.models.data import LogFolder
from sidestream.models.records import CandidateSet, SessionStart
from sidestream.streams.broker import RunningBroker
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.demo.judging import Verdict
from sidestream.streams.demo.ledger import Answered, Ledger
from sidestream.streams.demo.listener import Seen, ask_with_state
from sidestream.streams.demo.play import AnswerReader, Pass, TimeLeft, play
from sidestream.streams.demo.prepare import Programme
from sidestream.streams.demo.printing.ending import tell_commands, tell_verdict
from sidestream.streams.demo.printing.reach import SETTINGS_FILE, demo_commands, published_settings, reach_options
from sidestream.streams.demo.printing.screen import Screen
from sidestream.streams.demo.system import (
    CatalogueWatch,
    demo_topics,
    running_broker,
    running_worker,
    shareable,
    worker_flags,
)
from sidestream.streams.demo.tell import tell_answer, tell_evaluation, tell_sids, tell_state
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.replay import Progress
from sidestream.streams.replay.publisher import TopicPublisher
from sidestream.streams.runtime import termination
from sidestream.streams.settings import Settings
from sidestream.streams.worker.process import WorkerProcess


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a demo.

    Attributes:
        summary: Figures of the first pass.
        verdict: Of all passes that were played to their end.
    """

    summary: dict[str, Any]
    verdict: Verdict


class Demo:
    """One demo.

    Args:
        settings: All settings; the broker's and the worker's folders are put under the demo's own.
        programme: What is played and what serves it.
        place: Folder of the demo; its broker and state are made anew.
        again: The command that plays on, word by word.
    """

    def __init__(self, settings: Settings, programme: Programme, place: Path, again: Sequence[str]) -> None:
        self._settings = settings
        self._demo = settings.demo
        self._programme = programme
        self._place = place
        self._screen = Screen()
        self._again = again
        self._topics = demo_topics(settings)
        self._ledger = Ledger(
            limits=Limits.from_settings(self._topics),
            partitioner=self._topics.partitioner,
            exclude_seen=settings.recommend.exclude_seen,
        )

    def run(self, *, once: bool) -> Outcome:
        """Run it.

        Args:
            once: End after one pass over the log; otherwise go on until Ctrl-C.

        Returns:
            Figures and verdict.

        Raises:
            SidestreamError: Broker or worker do not start, or end; one sentence says which and where to look.
        """
        with ExitStack() as stack:
            broker = stack.enter_context(running_broker(self._settings, self._topics, self._place, self._screen))
            flags = worker_flags(self._settings, broker, self._topics, self._place, self._programme.pair)
            worker = stack.enter_context(running_worker(flags, self._place, self._demo.ready_wait_s, self._screen))
            stack.enter_context(published_settings(self._settings_file, shareable(flags)))
            reader = AnswerReader(broker.kafka, self._topics, self._ledger)
            stack.callback(reader.close)
            start_s = self._screen.elapsed_s
            self._play(broker, worker, 0, self._demo.play_s)
            reader.wait(self._demo.answer_wait_s)
            worker.require_running()
            seen = self._show(broker, worker)
            reader.wait(self._demo.answer_wait_s)
            summary = {**self._summary(broker), "start_s": round(start_s, 1)}
            outcome = Outcome(summary, tell_verdict(self._screen, self._ledger, summary, self._place))
            if seen is not None:
                commands = demo_commands(seen.answer.user_id, seen.start.at)
                reached = reach_options(self._settings_file, broker.name, self._topics)
                tell_commands(self._screen, commands, reached, self._again if once else None)
            return outcome if once else self._go_on(broker, worker, reader, outcome)

    @property
    def _settings_file(self) -> Path:
        return self._place / SETTINGS_FILE

    def _go_on(self, broker: RunningBroker, worker: WorkerProcess, reader: AnswerReader, outcome: Outcome) -> Outcome:
        """Play pass after pass until Ctrl-C, which is the ordinary end here."""
        try:
            for number in itertools.count(1):
                self._screen.gap()
                self._screen.say("playing on, with new listens every pass; Ctrl-C ends it")
                self._ledger.end_pass()
                self._play(broker, worker, number, self._demo.again_s)
                reader.wait(self._demo.answer_wait_s)
                worker.require_running()
                verdict = tell_verdict(self._screen, self._ledger, self._summary(broker), self._place)
                outcome = Outcome(outcome.summary, verdict)
        except KeyboardInterrupt:
            self._screen.say("ending")
        return outcome

    def _play(self, broker: RunningBroker, worker: WorkerProcess, number: int, seconds: float) -> None:
        folder: LogFolder = self._programme.folder
        manifest = folder.manifest
        first_at = manifest.first_at or 0
        span_ms = max((manifest.last_at or 0) - first_at, 1)
        how = Pass(number, seconds, span_ms, self._programme.shift_ms)
        counts = manifest.counts
        self._screen.say(
            f"playing {manifest.name}: {counts.items:,} items, {counts.listens:,} listens, {counts.sessions:,} "
            f"session-starts in {seconds:.0f} s ({manifest.events_are})"
        )
        told, time_left = -1, TimeLeft(how, first_at)

        def tell(at: Progress) -> None:
            nonlocal told
            left_s = time_left.left_s(at.at)
            tenth = math.floor(10 * at.published / at.total)
            if tenth > told:
                told = tenth
                answered, sent = self._ledger.num_answered, self._ledger.num_sessions
                self._screen.say(
                    f"{at.published:>6,} of {at.total:,} rows, {answered:,} of {sent:,} sessions answered, "
                    f"{left_s:.0f} s left"
                )

        async def run() -> None:
            publisher = TopicPublisher(Clients(broker.kafka), build_topics(self._topics))
            watch = CatalogueWatch(worker, self._demo.ready_wait_s)
            async with publisher:
                await play(folder, publisher, self._ledger, how, watch.knows, tell)

        termination.run(run())

    def _summary(self, broker: RunningBroker) -> dict[str, Any]:
        figures = {"broker": broker.kind, **self._ledger.figures()}
        metrics = self._programme.metrics
        if "headline_column" in metrics:
            figures["headline_column"] = metrics["headline_column"]
        for name in ("recall_at_10", "recall_at_30"):
            for ranker in ("", "popularity_", "item_knn_"):
                if f"{ranker}{name}" in metrics:
                    figures[f"{ranker}{name}"] = round(metrics[f"{ranker}{name}"], 4)
        return figures

    def _show(self, broker: RunningBroker, worker: WorkerProcess) -> Seen | None:
        """Show one listener, asked once more when the worker has folded all that was sent of them."""
        best = self._ledger.best
        if best is None:
            return None
        with SidestreamClient(broker.kafka, self._topics) as client:
            seen = self._ask(broker, worker, client, best)
            sids = list(client.read_catalogue().values())
        tell_state(self._screen, self._ledger.item, seen.answer.user_id, seen.state)
        reserved = next((c.item_id for c in seen.answer.candidates if c.reserved), None)
        tell_sids(self._screen, sids, seen.answer.tokenizer_version, reserved)
        tell_answer(self._screen, self._ledger.item, seen)
        if "evaluation" in self._programme.metrics:
            tell_evaluation(self._screen, self._programme.metrics["evaluation"])
        return seen

    def _ask(self, broker: RunningBroker, worker: WorkerProcess, client: SidestreamClient, best: Answered) -> Seen:
        user = best.start.user_id.encode()
        listens = read_topic(Clients(broker.kafka), client.topics.listens.name)
        last_offset = max((record.offset for record in listens if record.key == user), default=-1)
        # At the end of the log: its clock stands there, and an earlier time would not turn it back.
        at = max((self._programme.folder.manifest.last_at or 0) + self._programme.shift_ms, best.start.at)
        change = {"session_id": "demo-shown", "at": at, "discovery": "any", "page": 0}

        def ask(start: SessionStart) -> CandidateSet:
            self._ledger.asking(start)
            return client.request_candidates(start, self._demo.answer_wait_s)

        try:
            start = best.start.model_copy(update=change)
            return ask_with_state(start, last_offset, worker, ask, self._demo.answer_wait_s)
        except BrokerError as error:
            # What is still unanswered at the end is in the verdict; an earlier answer can be shown anyway.
            self._screen.say(str(error), "yellow")
            return Seen({}, best.start, best.answer, behind=True)
