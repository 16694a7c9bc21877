"""Training curve: its points, and saving it as a table and as a picture."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Losses of one epoch, means over its steps.

    Args:
        epoch: From 1.
        step: Optimizer steps so far.
        learning_rate: Learning rate at the end of the epoch.
        level_loss: Sum of the levels' cross-entropies, nats.
        item_loss: Sampled softmax over items, nats.
        validation_recall_at_10: Recall of the item score over all items, seen ones excluded; None if not measured.
    """

    epoch: int
    step: int
    learning_rate: float
    level_loss: float
    item_loss: float
    validation_recall_at_10: float | None


def save_curve_table(points: Sequence[CurvePoint], path: Path) -> None:
    """Write the curve, one point per epoch, as CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(CurvePoint)])
        for point in points:
            values = asdict(point).values()
            writer.writerow(["" if value is None else f"{value:.6g}" for value in values])


def save_curve_picture(points: Sequence[CurvePoint], path: Path) -> None:
    """Draw the curve as PNG: losses on the left axis, validation recall on the right."""
    # Figure and canvas are created directly: pyplot would choose a window system and keep global state.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.subplots()
    epochs = [point.epoch for point in points]
    losses.plot(epochs, [point.level_loss for point in points], color="#1b6ca8", label="SID levels")
    losses.plot(epochs, [point.item_loss for point in points], color="#d1701f", label="items")
    losses.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    losses.grid(alpha=0.3)
    measured = [
        (point.epoch, point.validation_recall_at_10) for point in points if point.validation_recall_at_10 is not None
    ]
    if measured:
        recalls = losses.twinx()
        recalls.plot(*zip(*measured, strict=True), color="#3a8f4d", marker="o", label="validation recall@10 (right)")
        recalls.set(ylabel="validation recall@10, seen excluded", ylim=(0, None))
    # One legend for both axes: two would overlap.
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    # Without the library's version in the file, equal curves give equal bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})
