"""Owns how a training tells how far it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["prepare", "train", "export", "guide", "evaluate"]


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a training stands.

    Args:
        stage: What is being done.
        done: Units of the stage done.
        total: Units of the stage, about.
        note: One short line for people; empty most of the time.
    """

    stage: Stage
    done: int
    total: int
    note: str = ""

    @property
    def line(self) -> tuple[str, int, int, str]:
        """Return stage, units done, units in all and note; the rankers of an evaluation are stages of their own."""
        if self.stage == "evaluate" and self.note:
            return f"evaluate {self.note}", self.done, self.total, ""
        return self.stage, self.done, self.total, self.note


ProgressCallback = Callable[[TrainProgress], None]


def ignore_progress(progress: TrainProgress) -> None:
    """Drop the message, where nobody watches."""
    del progress
