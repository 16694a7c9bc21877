"""What has happened so far, over all cells; it can be written down and taken up again."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A broken protocol names thousands of keys; these are enough to look into.
MAX_NAMED = 40


@dataclass
class Tally:
    """Counts of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    pause_ends: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    self_ended: Counter[str] = field(default_factory=Counter)
    failover_kill_s: list[float] = field(default_factory=list)
    failover_term_s: list[float] = field(default_factory=list)
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
        self.wrong += [f"{where} {key}" for key in keys][: max(0, MAX_NAMED - len(self.wrong))]

    def note_counts(self, where: str, compared: int, items: list[str]) -> None:
        """Count compared and wrong counts of items, and name some."""
        self.compared_counts += compared
        self.wrong_counts += len(items)
        self.wrong += [f"{where} {item}" for item in items][: max(0, MAX_NAMED - len(self.wrong))]

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
        return self.wrong_keys + self.wrong_counts + self.replayed + self.lost_sessions + self.wrong_dead_letters

    def plain(self) -> dict[str, Any]:
        """Give all counts by name; `asdict` does not know counters."""
        return dict(vars(self))

    def results(self) -> dict[str, Any]:
        """Say everything, for the result."""
        counts = self.plain()
        for name in ("failover_kill_s", "failover_term_s", "pause_settled_s"):
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
