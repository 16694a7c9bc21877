"""Operator commands for generations: each publishes orders, waits for the workers, and may be repeated.

Rollout: `preparing` is ordered; once every member of the workers' groups has reported that it is ready, `active` is
ordered. The previous version stays on standby, loaded, until it is retired. A command that is interrupted leaves the
workers as they are: run it again, or retire the version.
"""

import time
from collections.abc import Callable

from sidestream.models.records import Generation, GenerationReport
from sidestream.models.records.generations import Phase
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import GenerationError
from sidestream.streams.operate.rollout.watch import ControlWatch
from sidestream.streams.runtime.clock import WallClock


class Operator:
    """Rolls versions out and back, and retires them.

    Args:
        watch: The control topics.
        topics: All topics.
        patience_s: How long a command waits for the workers.
        on_progress: Called with each progress message.
        stalled_s: Once all partitions are written, items that are still missing after this time count as missing.
        seconds: Monotonic clock in seconds.
        wall_ms: UTC epoch milliseconds.
    """

    def __init__(
        self,
        watch: ControlWatch,
        topics: Topics,
        patience_s: float,
        on_progress: Callable[[str], None],
        stalled_s: float = 15.0,
        seconds: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        self._watch = watch
        self._partitions = topics.catalog_items.partitions
        self._patience_s = patience_s
        self._on_progress = on_progress
        self._seconds = seconds
        self._wall_ms = wall_ms or WallClock()
        self._stalled_s = stalled_s
        self._stall: tuple[tuple[int, int] | None, float] = (None, 0.0)

    def rollout(self, version: str, pair: str, own_pair: str, may_miss: int = 0) -> Generation:
        """Prepare a version alongside the one that serves, then switch to it.

        Args:
            version: Tokenizer version of the pair.
            pair: Name of its pair folder.
            own_pair: Name of the pair folder that serves if no order was ever given.
            may_miss: Number of items that may have no SID under the version.

        Returns:
            The order in effect.

        Raises:
            GenerationError: A worker refuses, another rollout is in progress, or the wait timed out.
        """
        orders = self._watch.orders
        active, preparing = orders.active, orders.preparing
        if active is not None and active.version == version:
            return self._serve(version)
        if preparing is not None and preparing.version != version:
            msg = (
                f"rollout: version {preparing.version} is being prepared; finish it "
                f"(`sidestream tokenizer rollout {preparing.version}`) or abandon it "
                f"(`sidestream tokenizer retire {preparing.version}`) first"
            )
            raise GenerationError(msg)
        self._stall = (None, 0.0)
        self._order(version, pair, "preparing", may_miss=may_miss)
        self._wait(lambda: self._all_prepared(version, may_miss), f"version {version} to be ready everywhere")
        if orders.active is None:
            self._order(self._what_serves(), own_pair, "active")
        self._order(version, pair, "active", may_miss=may_miss)
        return self._serve(version)

    def rollback(self) -> Generation:
        """Switch back to the previous version at once.

        Returns:
            The order in effect.

        Raises:
            GenerationError: There is no version on standby, or the wait timed out.
        """
        back = self._watch.orders.standby
        if back is None or self._watch.orders.active is None:
            msg = "rollback: expected a version on standby, got none; `sidestream tokenizer generations` lists all"
            raise GenerationError(msg)
        self._order(back.version, back.pair, "active", at_once=True)
        return self._serve(back.version)

    def retire(self, version: str) -> Generation:
        """Remove a version from the catalogue and from the workers.

        Args:
            version: Tokenizer version.

        Returns:
            The order in effect.

        Raises:
            GenerationError: The version serves or was never ordered, or the wait timed out.
        """
        orders = self._watch.orders
        ordered = orders.find(version)
        if ordered is None:
            known = ", ".join(found.version for found in orders.generations) or "none"
            msg = f"retire: expected one of the versions that were ordered ({known}), got {version!r}"
            raise GenerationError(msg)
        if orders.active == ordered:
            msg = f"retire: version {version} serves; roll out another one, or `sidestream tokenizer rollback`, first"
            raise GenerationError(msg)
        if ordered.phase != "retired":
            self._order(version, ordered.pair, "retired")
        self._wait(lambda: self._is_everywhere(version, "dropped"), f"version {version} to be gone from all values")
        return self._known(version)

    def _serve(self, version: str) -> Generation:
        self._wait(lambda: self._all_serve(version), f"version {version} to serve everywhere")
        for other in self._watch.orders.generations:
            if other.version != version and other.phase == "active":
                self._order(other.version, other.pair, "standby")
        return self._known(version)

    def _order(self, version: str, pair: str, phase: Phase, *, may_miss: int = 0, at_once: bool = False) -> None:
        self._watch.order(
            Generation(version=version, pair=pair, phase=phase, may_miss=may_miss, at_once=at_once, at=self._wall_ms())
        )
        self._on_progress(f"{phase}: {version} ({pair})")

    def _known(self, version: str) -> Generation:
        found = self._watch.orders.find(version)
        if found is None:
            msg = f"version {version}: its order has disappeared from the topic; another operator is writing to it"
            raise GenerationError(msg)
        return found

    def _wait(self, open_points: Callable[[], str], what: str) -> None:
        """Wait until nothing is pending; report each change."""
        until_s, reported = self._seconds() + self._patience_s, ""
        while pending := open_points():
            if pending != reported:
                self._on_progress(pending)
                reported = pending
            if self._seconds() > until_s:
                msg = (
                    f"waited {self._patience_s:.0f} s for {what}: {pending}; the order stays in effect, "
                    "run the command again to continue waiting"
                )
                raise GenerationError(msg)
            self._watch.poll()

    def _all_prepared(self, version: str, may_miss: int) -> str:
        reports = self._reports(version)
        if refusals := [f"{r.worker}: {r.detail}" for r in reports if r.progress == "refused"]:
            msg = (
                f"version {version} is refused, the rollout stops: {'; '.join(refusals)}; fix the cause and run it "
                f"again, or abandon it with `sidestream tokenizer retire {version}`"
            )
            raise GenerationError(msg)
        waiting = [report for report in reports if report.progress != "ready"]
        held = self._num_partitions(version, "held")
        missing = max((report.missing for report in reports), default=0)
        self._refuse_stall(version, held, missing, may_miss)
        if waiting:
            return (
                f"{len(waiting)} of {len(reports)} workers not ready, {held} of {self._partitions} partitions written, "
                f"{missing:,} items missing"
            )
        return self._absent(reports)

    def _refuse_stall(self, version: str, held: int, missing: int, may_miss: int) -> None:
        now_s = self._seconds()
        if self._stall[0] != (held, missing):
            self._stall = ((held, missing), now_s)
        if held == self._partitions and missing > may_miss and now_s - self._stall[1] > self._stalled_s:
            msg = (
                f"version {version}: all values are written, but {missing:,} items that are served now have no SID "
                f"under it; publish them again, or accept that with --may-miss {missing}"
            )
            raise GenerationError(msg)

    def _all_serve(self, version: str) -> str:
        reports = [report for report in self._watch.workers() if report.role != "tokenize"]
        others = [report for report in reports if report.serving != version]
        if others:
            return f"{len(others)} of {len(reports)} workers serve another version"
        return self._absent(self._watch.workers())

    def _what_serves(self) -> str:
        served = {report.serving for report in self._watch.workers() if report.serving is not None}
        if len(served) != 1:
            names = ", ".join(sorted(served)) or "none"
            msg = f"rollout: expected all workers to serve one version, got {names}; give them one pair (artifacts)"
            raise GenerationError(msg)
        return served.pop()

    def _reports(self, version: str) -> list[GenerationReport]:
        return [report for report in self._watch.workers() if report.version == version]

    def _absent(self, reports: list[GenerationReport]) -> str:
        """Return what is pending while members have not reported; the query costs a connection, so it comes last."""
        if not any(report.serving is not None for report in reports):
            return "no worker that answers session-starts has reported yet"
        members = self._watch.members()
        return "" if len(reports) >= members else f"{len(reports)} of {members} workers have reported"

    def _is_everywhere(self, version: str, progress: str) -> str:
        count = self._num_partitions(version, progress)
        return "" if count == self._partitions else f"{count} of {self._partitions} partitions {progress}"

    def _num_partitions(self, version: str, progress: str) -> int:
        states = (self._watch.orders.partition_state(version, partition) for partition in range(self._partitions))
        return sum(state == progress for state in states)
