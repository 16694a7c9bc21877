"""The end of a pass: figures, verdict, what to send us after a broken promise, and commands to copy."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidestream.models.data.quantities import quantity
from sidestream.streams.demo.judging import Verdict, busy_machine, judge_run
from sidestream.streams.demo.ledger import Ledger
from sidestream.streams.demo.printing.reach import Command, executable, typed
from sidestream.streams.demo.printing.screen import Screen

EVIDENCE_FILE = "evidence.json"
MAX_FAULTS_SHOWN = 5
_REASONS = {
    "no_history": "no listens yet",
    "empty_catalogue": "before any item was known",
    "deadline": "past the deadline",
}


def tell_verdict(screen: Screen, ledger: Ledger, summary: Mapping[str, Any], place: Path) -> Verdict:
    """Come to a verdict and print it; evidence of broken promises is written down.

    Args:
        screen: Where to.
        ledger: What was sent and came back.
        summary: Its figures.
        place: Folder of the demo.

    Returns:
        The verdict.
    """
    reasons = ", ".join(f"{count:,} {_REASONS.get(why, why)}" for why, count in summary["fallback_reasons"].items())
    by_popularity = f"{summary['fallback_sets']:,} by popularity" + (f": {reasons}" if reasons else "")
    screen.gap()
    delays = ""
    if summary["p50_ms"] is not None:
        delays = f", p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms from session-start to candidates"
    screen.text(
        f"{summary['candidate_sets']:,} of {summary['sessions']:,} session-starts answered ({by_popularity}), "
        f"{quantity(summary['invalid_candidates'], 'invalid candidate')}{delays}"
    )
    unanswered = ledger.open_sessions()
    verdict = judge_run(summary, ledger.faults, unanswered, busy_machine())
    for note in verdict.notes:
        screen.text(note, "yellow")
    for failure in verdict.failures:
        screen.text(f"failed: {failure}", "red")
    for fault in ledger.faults[1:MAX_FAULTS_SHOWN]:
        screen.text(f"also: {fault}", "red", indent=2)
    if verdict.failures:
        evidence = place / EVIDENCE_FILE
        told = {"summary": summary, "unanswered": unanswered, "sets": ledger.evidence}
        evidence.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        screen.text(f"This is a defect: please send us {evidence} and {place / 'worker.log'}", "red")
    return verdict


def tell_commands(
    screen: Screen, commands: Sequence[Command], reached: Sequence[str], again: Sequence[str] | None
) -> None:
    """Print commands to copy.

    Args:
        screen: Where to.
        commands: What to try on a running demo.
        reached: Global options by which a command finds the demo, of `reach_options`.
        again: The command that starts the demo to stay; None where it plays on by itself.
    """
    width = screen.columns
    screen.gap()
    if again is None:
        screen.text("Talk with it while it plays, from any folder:", "bold")
    else:
        screen.text("The demo has ended. This plays on, until Ctrl-C:", "bold")
        screen.verbatim(typed(again, width))
        screen.gap()
        screen.text("And these talk with it while it plays, from any folder:", "bold")
    options = (*executable(), *reached)
    for command in commands:
        screen.text(f"# {command.about}", "dim")
        screen.verbatim(typed((*options, *command.words), width))
