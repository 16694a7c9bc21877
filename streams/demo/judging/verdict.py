"""What a run of the demo comes to: the promises that were broken, and what a busy machine has cost, in sentences."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidestream.streams.demo.judging.judge import Fault

# Reasons of a fallback that say how little time the machine left, not what is wrong.
_BUSY_REASONS = {"overload": "overload", "deadline": "past the deadline"}
_BROKEN_REASONS = ("engine_error", "state_error", "no_model")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a run.

    Attributes:
        failures: Broken promises, a sentence each; none makes the exit code 0.
        notes: What else a person should know, a sentence each.
    """

    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where every promise was kept."""
        return 1 if self.failures else 0


def judge_run(
    figures: Mapping[str, Any], faults: Sequence[Fault], unanswered: Sequence[str], busy: str | None
) -> Verdict:
    """Come to a verdict.

    Args:
        figures: Of the ledger.
        faults: Invalid candidates and sets.
        unanswered: Session-starts without an answer, as a person can find them.
        busy: How busy the machine is, as `busy_machine` says it.

    Returns:
        The verdict.
    """
    return Verdict(tuple(_failures(figures, faults, unanswered)), tuple(_notes(figures, busy)))


def _failures(figures: Mapping[str, Any], faults: Sequence[Fault], unanswered: Sequence[str]) -> Iterator[str]:
    if unanswered:
        count = f"{len(unanswered):,} of {figures['sessions']:,}"
        yield f"{count} session-starts were not answered; first: {unanswered[0]}."
    if faults:
        yield f"{_count(len(faults), 'fault')} in the candidates; first: {faults[0]}."
    if figures["unjudged_sets"]:
        yield (
            f"{_count(figures['unjudged_sets'], 'candidate set')} could not be judged: item-sids.v1 or "
            "listen-events.v1 was not read up to the offsets that they name."
        )
    reasons: Mapping[str, int] = figures["fallback_reasons"]
    for reason in _BROKEN_REASONS:
        if reasons.get(reason):
            count = f"{reasons[reason]:,} of {figures['candidate_sets']:,}"
            yield f"{count} answers came from the popularity list because of {reason}; the worker's log says more."


def _notes(figures: Mapping[str, Any], busy: str | None) -> Iterator[str]:
    reasons: Mapping[str, int] = figures["fallback_reasons"]
    late = {name: reasons[reason] for reason, name in _BUSY_REASONS.items() if reasons.get(reason)}
    was_busy = f"because this machine was busy ({busy})" if busy else ""
    if late:
        count = f"{sum(late.values()):,} of {figures['candidate_sets']:,}"
        detail = ", ".join(f"{number:,} {name}" for name, number in late.items())
        cause = was_busy or "because their time was up before the model's turn"
        yield f"{count} answers came from the popularity list {cause}: {detail}."
    if figures["late_removals"]:
        yield (
            f"{_count(figures['late_removals'], 'candidate')} came up to {figures['late_removal_s']:.1f} s after the "
            f"removal of the item (expected: 1 s){', ' if busy else ''}{was_busy}; each was in the snapshot that its "
            "set names."
        )


def busy_machine() -> str | None:
    """Tell how busy this machine is.

    Returns:
        Load and processors, None where there is a processor for everyone.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    return f"load {load:.1f} on {_count(cpus, 'CPU')}" if load > cpus else None


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
