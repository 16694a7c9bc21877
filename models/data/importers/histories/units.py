"""Units of times and durations in a foreign file: read, guessed where that is safe, refused where it is not.

A wrong unit makes every figure wrong without any failure: seconds read as milliseconds put all plays into January 1970.
So a given unit is checked against the first rows, and a unit is guessed only if most of them are valid in no other.
"""

import math
from collections.abc import Sequence
from datetime import MAXYEAR
from typing import Literal, cast, get_args

from sidestream.models.data.importers.histories.time_texts import is_rounded, read_format, read_text, time_fault
from sidestream.models.data.importers.shown import shown
from sidestream.models.errors import DataError
from sidestream.models.records.times import (
    EARLIEST_EVENT_AT,
    EARLIEST_FACT_AT,
    LATEST_AT,
    TimeUnit,
    describe_at,
    is_event_time,
    published_time_fault,
    to_ms,
    unit_of,
)

AtUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]
DurationUnit = Literal["auto", "s", "ms"]
_UNITS: tuple[str, ...] = get_args(AtUnit)[1:]

# Share of the first rows that must be valid; no time is valid in two units, so the rest is damage.
_ENOUGH = 0.5
# A long duration of a file, its 90th percentile: 20 s to 2.7 h in seconds, 1 min to 28 h in milliseconds. Between lies
# a gap. The median would not do: half of all plays may be skips of a few seconds.
_LONGEST_S = 10_000
_SHORTEST_MS = 60_000
# A long play in this many durations of long items is milliseconds that were read as seconds.
_PLAYS_OF_ITEM = 3
# Times outside the valid range still tell their unit from here on: no number is in 1980 to 2100 in two units.
_RECOGNISED_FROM_AT = 315_532_800_000
DAY_MS = 86_400_000
# No item and no play is longer than a year; larger numbers are damage, and do not fit into the rows that are sorted.
MAX_DURATION_MS = 366 * DAY_MS


def read_at(value: object, unit: str) -> int:
    """Parse a time.

    Args:
        value: A number, a number as text, or a text as `read_text` reads it.
        unit: Any `AtUnit` but auto, or a format of `strptime`.

    Returns:
        UTC epoch ms.

    Raises:
        ValueError: It is not a time in the unit; says what was expected and what was found.
    """
    at = _parsed(value, unit)
    if at is None:
        expected = "an ISO 8601 time such as 2026-03-01T12:00:00Z" if unit == "iso" else f"a time in {unit}"
        fault = time_fault(value)
        msg = f"expected {expected}, got {shown(value)}{f': {fault}' if fault else ''}"
        raise ValueError(msg)
    return at


def is_format(unit: str) -> bool:
    """Return whether a unit of times is a format of `strptime`."""
    return "%" in unit


def read_event_at(value: object, unit: str, latest_at: int) -> int:
    """Parse the time of a play.

    Args:
        value: See `read_at`.
        unit: See `read_at`.
        latest_at: The current time, plus a tolerance for clocks.

    Returns:
        UTC epoch ms.

    Raises:
        ValueError: It is not a time in the unit, or one at which nothing can have been played.
    """
    at = read_at(value, unit)
    if not is_event_time(at, latest_at):
        other = None if (number := as_number(value)) is None else unit_of(number)
        hint = f"; {shown(value)} looks like {other}, not {unit}" if other not in (None, unit) else ""
        msg = f"expected a time from 2000-01-01 until now, got {describe_at(at)}{hint}"
        raise ValueError(msg)
    return at


def read_published_at(value: object) -> int | None:
    """Read when an item was published; a number may be of any unit that its size tells.

    Args:
        value: A year, a day or a time in ISO 8601, or a number.

    Returns:
        UTC epoch ms, negative before 1970; None where it lies after the last time that records carry.

    Raises:
        ValueError: It is no time.
    """
    number = as_number(value)
    if number is not None and number.is_integer() and 1_000 <= number <= MAXYEAR:
        value, number = f"{number:.0f}-01-01", None
    try:
        at = read_at(value, "iso") if number is None else _converted(number, "ms")
    except ValueError:
        at = None
    if at is None:
        msg = f"expected published to be a year, a day or epoch ms, got {shown(value)}"
        raise ValueError(msg)
    if published_time_fault(at) is None:
        return at
    unit = None if number is None else unit_of(number)
    return None if number is None or unit is None else to_ms(number, unit)


def guess_at_unit(values: Sequence[object], latest_at: int, name: str) -> str:
    """Detect the unit in which the times of a sample are between 2000 and now.

    Args:
        values: Times in the first rows.
        latest_at: The current time.
        name: Name of the file, for the message.

    Returns:
        The unit.

    Raises:
        DataError: No unit fits, or several do.
    """
    fitting = [unit for unit in _UNITS if values and _share(values, unit, EARLIEST_EVENT_AT, latest_at) >= _ENOUGH]
    if len(fitting) == 1:
        return fitting[0]
    _require_range(values, _UNITS, latest_at, name)
    found = ", ".join(map(shown, values[:3])) or "none"
    cause = time_fault(values[0]) if values else None
    msg = (
        f"{name}: expected times of which the unit is clear (s, ms, us, ns or ISO 8601, from 2000-01-01 until now), "
        f"got {found}; {cause or 'check the column of `at`, and say --at-unit or --at-format'}"
    )
    raise DataError(msg)


def check_at_unit(values: Sequence[object], unit: str, latest_at: int, name: str) -> None:
    """Check a given unit.

    Args:
        values: Times in the first rows.
        unit: The given unit.
        latest_at: The current time.
        name: Name of the file, for the message.

    Raises:
        DataError: Most times are invalid in this unit.
    """
    if not values or _share(values, unit, EARLIEST_EVENT_AT, latest_at) >= _ENOUGH:
        return
    _require_range(values, (unit,), latest_at, name)
    parsed = _parsed(values[0], unit)
    gives = "no time" if parsed is None else describe_at(parsed)
    better = next((other for other in _UNITS if _share(values, other, EARLIEST_EVENT_AT, latest_at) >= _ENOUGH), None)
    advice = f"it looks like --at-unit {better}" if better else time_fault(values[0]) or "check the column of `at`"
    option = "--at-format" if is_format(unit) else "--at-unit"
    msg = f"{name}: {option} {unit} does not fit: {shown(values[0])} gives {gives}; {advice}"
    raise DataError(msg)


def are_days(values: Sequence[object], unit: str) -> bool:
    """Return whether times of a sample, two or more, are all at midnight UTC: days, not moments."""
    ats = []
    for value in values:
        try:
            ats.append(read_at(value, unit))
        except ValueError:
            continue
    return len(ats) > 1 and not any(at % DAY_MS for at in ats)


def duration_unit(
    values: Sequence[object], unit: str, source: str, what: str, item_ms: float | None = None
) -> tuple[str, str | None]:
    """Detect or check the unit of a column of durations.

    Args:
        values: Durations (or listened times) in the first rows.
        unit: A `DurationUnit`.
        source: What gave the unit, for the warning; empty for none.
        what: File and column, for messages.
        item_ms: A long duration of the items, if these are listened times and it is known.

    Returns:
        The unit, and a warning if the given one looks wrong.

    Raises:
        DataError: None was given and the values fit both units.
    """
    long = long_duration(values)
    if long is None:
        return ("ms" if unit == "auto" else unit), None
    likely = "s" if long < _LONGEST_S else "ms" if long >= _SHORTEST_MS else None
    if unit == "auto":
        if likely == "s" and item_ms is not None and long * 1_000 > _PLAYS_OF_ITEM * item_ms:
            likely = None
        if likely is None:
            msg = (
                f"{what}: expected durations of which the unit is clear, got {long:g} for a long one: "
                f"{long / 3600:.1f} h in seconds, {long / 1000:.3g} s in milliseconds; give --duration-unit"
            )
            raise DataError(msg)
        return likely, None
    if likely is not None and likely != unit:
        seconds = long if unit == "s" else long / 1_000
        return unit, f"{what}: with {source} a long duration is {seconds:g} s; it looks like {likely}"
    return unit, None


def long_duration(values: Sequence[object]) -> float | None:
    """Return the 90th percentile of the positive numbers; None without any."""
    numbers = sorted(number for value in values if (number := as_number(value)) is not None and number > 0)
    return numbers[int(0.9 * (len(numbers) - 1))] if numbers else None


def read_duration_ms(value: object, unit: str, name: str = "a duration") -> int | None:
    """Read a duration.

    Args:
        value: A number, a number as text, or None.
        unit: `s` or `ms`.
        name: What it is called in the message.

    Returns:
        Milliseconds; None if missing.

    Raises:
        ValueError: It is not a duration.
    """
    if value is None or value == "":
        return None
    number = as_number(value)
    if number is None:
        msg = f"expected {name} as a number, such as 210 or 1.5, got {shown(value)}"
        raise ValueError(msg)
    duration_ms = _converted(number, unit)
    if duration_ms is None or not 0 <= duration_ms <= MAX_DURATION_MS:
        msg = f"expected {name} in {unit}, at most a year, got {shown(value)}"
        raise ValueError(msg)
    return duration_ms


def as_number(value: object) -> float | None:
    """Return a finite number, given as a number or as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value.strip())
        except ValueError:
            return None
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        # JSON has whole numbers of any length.
        return None


def _parsed(value: object, unit: str) -> int | None:
    if is_format(unit):
        return read_format(str(value).strip(), unit)
    number = as_number(value)
    if unit == "iso":
        # The standard library accepts a plain number as ISO 8601's basic form of a date, which is never intended here.
        return read_text(value.strip()) if isinstance(value, str) and number is None else None
    if number is None or (isinstance(value, str) and is_rounded(value, cast(TimeUnit, unit))):
        return None
    return _converted(number, unit)


def _converted(number: float, unit: str) -> int | None:
    """Convert to milliseconds; None where the number is too large for it."""
    try:
        return to_ms(number, cast(TimeUnit, unit))
    except OverflowError:
        return None


def _require_range(values: Sequence[object], units: Sequence[str], latest_at: int, name: str) -> None:
    """Refuse times of which the unit is clear, but which are too early or in the future."""
    for unit in units:
        since = EARLIEST_FACT_AT if unit == "iso" or is_format(unit) else _RECOGNISED_FROM_AT
        outside = [value for value in values if not _share([value], unit, EARLIEST_EVENT_AT, latest_at)]
        known = [value for value in outside if _share([value], unit, since, LATEST_AT)]
        if known and len(known) >= _ENOUGH * len(values):
            value = known[0]
            msg = (
                f"{name}: expected times from 2000-01-01 until now, got {shown(value)} ({unit}), which is "
                f"{describe_at(read_at(value, unit))} UTC, as in most rows; the unit is not the problem: correct the "
                "times, or leave these rows out"
            )
            raise DataError(msg)


def _share(values: Sequence[object], unit: str, since: int, until: int) -> float:
    fitting = 0
    for value in values:
        try:
            fitting += since <= read_at(value, unit) <= until
        except ValueError:
            continue
    return fitting / max(1, len(values))
