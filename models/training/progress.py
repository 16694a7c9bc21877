"""Progress of a training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["prepare", "train", "export", "guide", "evaluate"]


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Progress of a training.

    Args:
        stage: Current stage.
        done: Units of the stage that are done.
        total: Approximate number of units of the stage.
        note: One short line for display; usually empty.
    """

    stage: Stage
    done: int
    total: int
    note: str = ""

    @property
    def line(self) -> tuple[str, int, int, str]:
        """Return stage, units done, all units and note; each ranker of an evaluation is a separate stage."""
        if self.stage == "evaluate" and self.note:
            return f"evaluate {self.note}", self.done, self.total, ""
        return self.stage, self.done, self.total, self.note


ProgressCallback = Callable[[TrainProgress], None]


def ignore_progress(progress: TrainProgress) -> None:
    """Ignore progress; the default callback."""
    del progress
