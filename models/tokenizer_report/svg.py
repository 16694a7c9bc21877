"""Plots as SVG text: columns, a falling curve, boxes and lines over time.

Colours come from the page's style sheet (classes), numbers are rounded to a tenth of a pixel, and every mark has a
tooltip with its value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 340.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 10.0, 14.0, 36.0
_MAX_CURVE_POINTS = 256
_TICKS = 4
# For the page's 11 px system font: a wide letter, a line of text. Names of lines are a leader away from their ends.
_LETTER, _LINE_HEIGHT, _FONT, _LEADER = 6.4, 13.0, 11.0, 10.0

Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot over time; `style` is a class of the page: s0, s1, ... or muted."""

    name: str
    values: Sequence[float]
    style: str


@dataclass(frozen=True, slots=True)
class Box:
    """Quantiles of 5, 25, 50, 75 and 95 % under a label."""

    label: str
    quantiles: Sequence[float]


class _Canvas:
    def __init__(self, top: float, right: float = _RIGHT) -> None:
        self.top = top if top > 0 else 1.0
        self.right = WIDTH - right
        self.parts: list[str] = []

    def x(self, share: float) -> float:
        return _LEFT + share * (self.right - _LEFT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _BOTTOM - _TOP)

    def text(
        self, x: float, y: float, words: str, style: str = "", anchor: str = "middle", size: float = _FONT
    ) -> None:
        small = f' style="font-size:{size:.1f}px"' if size < _FONT else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}"{small}>{escape(words)}</text>'
        )

    def scale(self, unit: str) -> None:
        step = _nice_step(self.top / _TICKS)
        for number in range(int(self.top / step + 1e-9) + 1):
            at = self.y(number * step)
            self.parts.append(f'<path d="M{_LEFT} {at:.1f}H{self.right:.1f}" class="{"grid" if number else "axis"}"/>')
            self.text(_LEFT - 6, at + 4, f"{number * step:g}{unit}", "tick", "end")

    def below(self, share: float, words: str, anchor: str = "middle") -> None:
        self.text(self.x(share), HEIGHT - _BOTTOM + 15, words, "tick", anchor)

    def names(self, ends: Sequence[tuple[str, float, str]]) -> None:
        """Name lines where they end; lines that end close together have their names moved apart.

        Args:
            ends: Name, height of the end, and style of each line.
        """
        low, high = _TOP, HEIGHT - _BOTTOM - 2
        gap = min(_LINE_HEIGHT, (high - low) / max(len(ends) - 1, 1))
        places = spread([at for _, at, _ in ends], low, high, gap)
        for (words, at, style), place in zip(ends, places, strict=True):
            start, end = self.right + 4, self.right + _LEADER
            if abs(place - at) > 1.0:
                self.parts.append(f'<path d="M{start:.1f} {at:.1f}L{end:.1f} {place:.1f}" class="leader {style}"/>')
            self.text(end + 2, place + 4, words, "tick", "start", _FONT * gap / _LINE_HEIGHT)

    def row(self, names: Sequence[str]) -> None:
        """Write names below their slots; every second, third, ... alone where they would lie on each other."""
        slot = 1.0 / max(len(names), 1)
        widest = max((len(name) for name in names), default=0) * _LETTER
        # The last ones are moved inwards where they would leave the plot.
        every = max(1, math.ceil((widest + 2 * _LETTER) / (slot * (self.right - _LEFT))))
        for place in range(0, len(names), every):
            x = min(self.x((place + 0.5) * slot), WIDTH - widest / 2)
            self.text(x, HEIGHT - _BOTTOM + 15, names[place], "tick")

    def finish(self, label: str, under: str = "") -> str:
        if under:
            self.text(self.x(0.5), HEIGHT - 4, under, "tick")
        marks = "".join(self.parts)
        return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(label)}">{marks}</svg>'


def columns(label: str, names: Sequence[str], values: Sequence[float], tips: Sequence[str], unit: str = "%") -> str:
    """Draw a column for each name, its value on top.

    Args:
        label: Description of the plot, for screen readers.
        names: Names below the columns.
        values: Heights.
        tips: Tooltips of the columns.
        unit: Unit after the numbers.

    Returns:
        An `svg` element.
    """
    canvas = _Canvas(max(values, default=0.0) * 1.12)
    canvas.scale(unit)
    slot = 1.0 / max(len(names), 1)
    for place, (value, tip) in enumerate(zip(values, tips, strict=True)):
        left, right = canvas.x((place + 0.14) * slot), canvas.x((place + 0.86) * slot)
        top = canvas.y(value)
        canvas.parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{HEIGHT - _BOTTOM - top:.1f}" '
            f'rx="2" class="fill"><title>{escape(tip)}</title></rect>'
        )
        canvas.text((left + right) / 2, top - 4, f"{_short(value)}{unit}", "value")
    canvas.row(names)
    return canvas.finish(label)


def falling_curve(label: str, counts: npt.NDArray[np.integer], under: str, even: str) -> str:
    """Draw counts from largest to smallest, with a line for even use.

    Args:
        label: Description of the plot, for screen readers.
        counts: Counts in any order, including zeros.

            Shape: (V,).
        under: Label of the horizontal axis.
        even: Label of the line of even use.

    Returns:
        An `svg` element.
    """
    falling = np.sort(counts)[::-1]
    canvas = _Canvas(float(falling[0]) * 1.05)
    canvas.scale("")
    drawn = falling[np.unique(np.linspace(0, len(falling) - 1, _MAX_CURVE_POINTS).astype(int))]
    slot = 1.0 / len(drawn)
    steps = "".join(f"V{canvas.y(float(n)):.1f}H{canvas.x((place + 1) * slot):.1f}" for place, n in enumerate(drawn))
    canvas.parts.append(f'<path d="M{_LEFT} {canvas.y(0):.1f}{steps}V{canvas.y(0):.1f}Z" class="fill soft"/>')
    middle = canvas.y(float(counts.mean()))
    canvas.parts.append(f'<path d="M{_LEFT} {middle:.1f}H{canvas.right:.1f}" class="limit"/>')
    canvas.text(canvas.right - 4, middle - 5, even, "value", "end")
    used = int((counts > 0).sum())
    canvas.below(0.0, "1", "start")
    canvas.below(1.0, f"{len(counts):,}", "end")
    if used < len(counts):
        canvas.parts.append(f'<path d="M{canvas.x(used / len(counts)):.1f} {_TOP}V{canvas.y(0):.1f}" class="limit"/>')
    return canvas.finish(label, under)


def boxes(label: str, found: Sequence[Box], under: str) -> str:
    """Draw quantiles: a line from 5 to 95 %, a box from 25 to 75 %, the median with its value.

    Args:
        label: Description of the plot, for screen readers.
        found: Boxes from left to right.
        under: Label of the horizontal axis.

    Returns:
        An `svg` element.
    """
    canvas = _Canvas(max((box.quantiles[-1] for box in found), default=0.0) * 1.1, right=16.0)
    canvas.scale("")
    slot = 1.0 / max(len(found), 1)
    for place, box in enumerate(found):
        low, lower, middle, upper, high = (canvas.y(value) for value in box.quantiles)
        x, half = canvas.x((place + 0.5) * slot), min((canvas.right - _LEFT) * slot * 0.22, 24.0)
        between = f"half of the items from {box.quantiles[1]:.2f} to {box.quantiles[3]:.2f}"
        tip = escape(f"{box.label}: median {box.quantiles[2]:.2f}, {between}")
        # A box without height, if all items are equal, is drawn as one thick line.
        height = max(lower - upper, 3.0)
        median = f'<path d="M{x - half:.1f} {middle:.1f}H{x + half:.1f}" class="median"/>' if height > 5.0 else ""
        canvas.parts.append(
            f'<g><title>{tip}</title><path d="M{x:.1f} {low:.1f}V{high:.1f}" class="whisker"/>'
            f'<rect x="{x - half:.1f}" y="{(upper + lower - height) / 2:.1f}" width="{2 * half:.1f}" '
            f'height="{height:.1f}" rx="2" class="fill"/>{median}</g>'
        )
        # With many boxes there is no space for it; the tooltip has the value.
        if (canvas.right - _LEFT) * slot - 2 * half >= 4 + 4 * _LETTER:
            canvas.text(x + half + 4, middle + 4, f"{box.quantiles[2]:.2f}", "value", "start")
    canvas.row([box.label for box in found])
    return canvas.finish(label, under)


def over_time(
    label: str, lines: Sequence[Line], limit: float | None, ticks: Sequence[tuple[float, str]], under: str = ""
) -> str:
    """Draw lines over time, labelled at their ends, with a dashed limit.

    Args:
        label: Description of the plot, for screen readers.
        lines: All of one length, at least one value each.
        limit: Limit of the alarm; None for none.
        ticks: Labels below, by share of the width.
        under: Label of the horizontal axis.

    Returns:
        An `svg` element.
    """
    highest = max(max(line.values) for line in lines)
    canvas = _Canvas(max(highest, limit or 0.0) * 1.15, right=74.0)
    canvas.scale("")
    ends = [] if limit is None else [("alarm", canvas.y(limit), "limit")]
    if limit is not None:
        canvas.parts.append(f'<path d="M{_LEFT} {canvas.y(limit):.1f}H{canvas.right:.1f}" class="limit"/>')
    for line in lines:
        last = max(len(line.values) - 1, 1)
        points = [(canvas.x(n / last), canvas.y(max(value, 0.0))) for n, value in enumerate(line.values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        tip = escape(f"{line.name}: {min(line.values):.3f} to {max(line.values):.3f}, now {line.values[-1]:.3f}")
        canvas.parts.append(f'<path d="M{path}" class="line {line.style}"><title>{tip}</title></path>')
        canvas.parts.append(
            f'<circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3" class="dot {line.style}"/>'
        )
        ends.append((line.name, points[-1][1], line.style))
    canvas.names(ends)
    for share, words in ticks:
        canvas.below(share, words, "start" if share < 0.1 else "end" if share > 0.9 else "middle")
    return canvas.finish(label, under)


def spread(wanted: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Move places apart, in their order and no further than needed.

    Args:
        wanted: Where each would be.
        low: Least place.
        high: Greatest place.
        gap: Least distance of two; less where they would not fit between both ends.

    Returns:
        A place for each.
    """
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = list(wanted)
    least = low
    for index in order:
        places[index] = least = max(places[index], least)
        least += gap
    most = high
    for index in reversed(order):
        places[index] = most = min(places[index], most)
        most -= gap
    return places


def _short(value: float) -> str:
    return "<0.1" if 0.0 < value < 0.05 else f"{value:.1f}".removesuffix(".0")


def _nice_step(rough: float) -> float:
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999))
