"""Answers one session-start in time: the recommender in a thread with a deadline, and a popularity fallback.

Independent of Kafka. Every session-start gets an answer: with a slow engine, an invalid state or a bug in the model it
is the fallback instead of the model's answer.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, Protocol

from sidestream.models.errors import StateError
from sidestream.models.recommend import Recommender, Steps
from sidestream.models.records import CandidateSet, SessionStart
from sidestream.models.records.candidates import FallbackReason
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.runtime.clock import Clock
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.settings import SessionSettings
from sidestream.tokenizer.catalogue import CatalogueSnapshot

_log = get_log(__name__)


class StateReader(Protocol):
    """Reads a listener's current state, including folds that are not stored yet."""

    def __call__(self, partition: int, user_id: str) -> bytes | None:
        """Return the encoded state; None for an unknown listener."""
        ...


class Pinned(NamedTuple):
    """Model and catalogue snapshot of one tokenizer version, pinned for the duration of one request."""

    recommender: Recommender
    snapshot: CatalogueSnapshot


class Answerer:
    """Computes candidate sets.

    Args:
        serving: Returns the model and catalogue that are served now; called once per request.
        state: Reads the listener's state.
        settings: Deadline and threads.
        metrics: Counts and times answers.
        clock: Determines expiry and newness.
        wall_ms: UTC epoch milliseconds for `produced_at`.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        serving: Callable[[], Pinned],
        state: StateReader,
        settings: SessionSettings,
        metrics: Metrics,
        clock: Clock,
        wall_ms: Callable[[], int],
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds = seconds
        self._serving = serving
        self._state = state
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._wall_ms = wall_ms
        self._engines = ThreadPoolExecutor(settings.engine_threads or os.cpu_count() or 1, thread_name_prefix="engine")
        # A label lookup costs as much as the observation itself.
        self._step_seconds = cache(metrics.step_seconds.labels)
        # A separate thread: fallbacks still work when every engine thread hangs.
        self._fallbacks = ThreadPoolExecutor(1, thread_name_prefix="fallback")

    async def warm_up(self) -> None:
        """Answer an artificial session-start, uncounted: the first call loads parts of numpy lazily (40-90 ms)."""
        start, pinned = SessionStart(session_id="warm-up", user_id="warm-up", at=EARLIEST_EVENT_AT), self._serving()
        await asyncio.get_running_loop().run_in_executor(
            self._engines,
            pinned.recommender.recommend,
            start,
            None,
            pinned.snapshot,
            self._clock(),
            Steps(self.seconds),
        )

    def close(self) -> None:
        """Shut down the threads without waiting for running calls."""
        self._engines.shutdown(wait=False, cancel_futures=True)
        self._fallbacks.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        start: SessionStart,
        partition: int,
        fetched_s: float,
        *,
        shed: bool = False,
        listens_missing: int | None = None,
    ) -> CandidateSet:
        """Answer one session-start.

        Args:
            start: The session-start.
            partition: Source partition, which is the listener's partition.
            fetched_s: When it was fetched, by the monotonic clock.
            shed: Whether to skip the model because there is no time left for it.
            listens_missing: Number of listens not folded when the wait for them ended; reported in the answer.

        Returns:
            The candidate set with its timings; `total` runs from the fetch to now.
        """
        self._clock.observe(start.at)
        steps = Steps(self.seconds, fetched_s)
        steps.add("queue", (self.seconds() - fetched_s) * 1e3)
        with steps.time("state"):
            state = self._state(partition, start.user_id)
        if shed:
            request = (self._serving(), start, state, self._clock())
            candidate_set = await self._fall_back_without_failing(*request, "overload", steps)
        else:
            candidate_set, steps = await self._answer_in_time(start, state, fetched_s, steps)
        timings_ms = steps.report_ms()
        self._count(candidate_set, timings_ms)
        fields = {"timings_ms": timings_ms, "produced_at": self._wall_ms(), "listens_missing": listens_missing}
        return candidate_set.model_copy(update=fields)

    async def _answer_in_time(
        self, start: SessionStart, state: bytes | None, fetched_s: float, steps: Steps
    ) -> tuple[CandidateSet, Steps]:
        pinned, now_ms = self._serving(), self._clock()
        left_s = self._settings.deadline_ms / 1e3 - (self.seconds() - fetched_s)
        reason: FallbackReason
        called_s = self.seconds()
        try:
            call = asyncio.get_running_loop().run_in_executor(
                self._engines, pinned.recommender.recommend, start, state, pinned.snapshot, now_ms, steps
            )
            # At the deadline, a call still waiting for a thread is dropped; a running one cannot be stopped.
            return await asyncio.wait_for(call, max(0.0, left_s)), steps
        except TimeoutError:
            reason = "deadline"
        except StateError as exc:
            reason, state = "state_error", None
            _log.error("state cannot be read", user_id=start.user_id, error=str(exc))
        except Exception:  # noqa: BLE001 - any bug in the model is logged, and the session still answered
            reason = "engine_error"
            _log.exception("recommender failed", session_id=start.session_id, user_id=start.user_id)
        # A new stopwatch: the engine thread may still write to the first one.
        fallback_steps = Steps(self.seconds, fetched_s)
        fallback_steps.add("queue", (called_s - fetched_s) * 1e3)
        fallback_steps.add("engine", (self.seconds() - called_s) * 1e3)
        candidate_set = await self._fall_back_without_failing(pinned, start, state, now_ms, reason, fallback_steps)
        return candidate_set, fallback_steps

    async def _fall_back_without_failing(
        self,
        pinned: Pinned,
        start: SessionStart,
        state: bytes | None,
        now_ms: int,
        reason: FallbackReason,
        steps: Steps,
    ) -> CandidateSet:
        try:
            return await self._fall_back(pinned, start, state, now_ms, reason, steps)
        except StateError as exc:
            if state is None:
                raise
            reason = "state_error"
            _log.error("state cannot be read", user_id=start.user_id, error=str(exc))
        except Exception:
            if state is None:
                raise
            _log.exception("popularity fallback failed", session_id=start.session_id, user_id=start.user_id)
        # The input that broke the model may break the fallback too: retry without the state.
        return await self._fall_back(pinned, start, None, now_ms, reason, steps)

    async def _fall_back(
        self,
        pinned: Pinned,
        start: SessionStart,
        state: bytes | None,
        now_ms: int,
        reason: FallbackReason,
        steps: Steps,
    ) -> CandidateSet:
        return await asyncio.get_running_loop().run_in_executor(
            self._fallbacks, pinned.recommender.fall_back, start, state, pinned.snapshot, now_ms, reason, steps
        )

    def _count(self, candidate_set: CandidateSet, timings_ms: dict[str, float]) -> None:
        fallback = candidate_set.fallback
        self._metrics.sessions.labels(fallback.reason if fallback is not None else "model").inc()
        for step, ms in timings_ms.items():
            self._step_seconds(step).observe(ms / 1e3)
        origins = Counter(
            "reserved" if c.reserved else "ranked" if c.log_prob is not None else "popular"
            for c in candidate_set.candidates
        )
        for origin, count in origins.items():
            self._metrics.candidates.labels(origin).inc(count)
