"""What has happened so far, over all cells; it can be written down and taken up again."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A broken protocol names thousands of keys; these are enough to look into, in all and of one comparison.
MAX_NAMED, MAX_NAMED_AT_ONCE = 200, 8


@dataclass
class Tally:
    """Counts of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    pause_ends: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    upgrades: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    self_ended: Counter[str] = field(default_factory=Counter)
    failover_kill_s: list[float] = field(default_factory=list)
    failover_term_s: list[float] = field(default_factory=list)
    restart_settled_s: list[float] = field(default_factory=list)
    pause_settled_s: list[float] = field(default_factory=list)
    checks: int = 0
    compared_tables: int = 0
    compared_keys: int = 0
    wrong_keys: int = 0
    wrong_dead_letters: int = 0
    compared_counts: int = 0
    wrong_counts: int = 0
    replayed: int = 0
    lost_sessions: int = 0
    wrong_answers: int = 0
    compared_answers: int = 0
    popular_answers: int = 0
    restart_exits: int = 0
    refusal_exits: int = 0
    refused_ticks: int = 0
    listens: int = 0
    erasures: int = 0
    sessions: int = 0
    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note_wrong(self, where: str, keys: list[str]) -> None:
        """Count wrong keys, and name some."""
        self.wrong_keys += len(keys)
        self._name(where, keys)

    def note_counts(self, where: str, compared: int, items: list[str]) -> None:
        """Count compared and wrong counts of items, and name some."""
        self.compared_counts += compared
        self.wrong_counts += len(items)
        self._name(where, items)

    def note_answers(self, where: str, answers: list[str]) -> None:
        """Count wrong answers, and name some."""
        self.wrong_answers += len(answers)
        self._name(where, answers)

    def _name(self, where: str, things: list[str]) -> None:
        most = min(MAX_NAMED_AT_ONCE, MAX_NAMED - len(self.wrong))
        self.wrong += [f"{where} {thing}"[:800] for thing in things[: max(0, most)]]

    def note_lost(self, where: str, sessions: list[str]) -> None:
        """Count session-starts without an answer, and name some."""
        self.lost_sessions += len(sessions)
        if sessions:
            self.wrong += [f"{where}: {len(sessions)} session-starts without an answer: {sessions[:5]}"]

    def note_failover(self, how: str, took_s: float, session_s: float) -> None:
        """Note how long partitions were without an owner: after a SIGKILL beyond the session, which had to end."""
        if how == "SIGKILL":
            self.failover_kill_s.append(max(0.0, took_s - session_s))
        else:
            self.failover_term_s.append(took_s)

    def note_self_ended(self, where: str, code: int, said: str) -> None:
        """Count a worker that ended by itself, and keep the reason that it gave."""
        self.self_ended[str(code)] += 1
        told = [line for line in said.splitlines() if "worker ended" in line or "watchdog" in line]
        last = told[-1] if told else said[-500:]
        self.reasons += [f"{where}: {last[:600]}"][: max(0, MAX_NAMED - len(self.reasons))]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong so far."""
        return not self.num_wrong

    @property
    def num_wrong(self) -> int:
        """All that was wrong so far."""
        return sum(self.found().values())

    def found(self) -> dict[str, int]:
        """Say what was wrong, by kind."""
        kinds = ("wrong_keys", "wrong_counts", "wrong_answers", "replayed", "lost_sessions", "wrong_dead_letters")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}

    def plain(self) -> dict[str, Any]:
        """Give all counts by name; `asdict` does not know counters."""
        return dict(vars(self))

    def results(self) -> dict[str, Any]:
        """Say everything, for the result."""
        counts = self.plain()
        for name in ("failover_kill_s", "failover_term_s", "restart_settled_s", "pause_settled_s"):
            counts[name] = _spread(counts[name])
        return counts


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    at = {"p50": 0.5, "p90": 0.9}
    shares = {
        name: round(ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))], 2) for name, share in at.items()
    }
    return {"count": len(ordered), **shares, "max": round(ordered[-1], 2)}


@dataclass
class Progress:
    """How far a run is: where it goes on after an interruption.

    Attributes:
        options: That made the schedule; a run goes on only with the same ones.
        blocks: Finished blocks by cell.
        seconds: Spent so far.
        tally: What has happened.
    """

    options: dict[str, Any]
    blocks: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    def save(self, path: Path) -> None:
        """Write it down; a crash of the benchmark leaves the old or the new file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps({**vars(self), "tally": self.tally.plain()}))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Progress":
        """Take up what was written down."""
        saved = json.loads(path.read_text())
        tally = Tally()
        for name, value in saved["tally"].items():
            setattr(tally, name, Counter(value) if isinstance(value, dict) else value)
        return cls(saved["options"], saved["blocks"], saved["seconds"], tally)
