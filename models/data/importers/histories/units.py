"""Units of times and durations in a foreign file: read, guessed where that is safe, refused where it is not.

A wrong unit makes every figure wrong without any failure: seconds read as milliseconds put all plays into January 1970.
So a given unit is checked against the first rows, and a unit is guessed only if most of them are valid in no other.
"""

import math
from collections.abc import Sequence
from datetime import MAXYEAR, UTC, datetime
from typing import Literal, cast, get_args

from sidestream.models.errors import DataError
from sidestream.models.records.times import TimeUnit, is_event_time, published_time_fault, to_ms, unit_of

AtUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]
DurationUnit = Literal["auto", "s", "ms"]

# Share of the first rows that must be valid; no time is valid in two units, so the rest is damage.
_ENOUGH = 0.5
# A long duration of a file, its 90th percentile: 20 s to 2.7 h in seconds, 1 min to 28 h in milliseconds. Between lies
# a gap. The median would not do: half of all plays may be skips of a few seconds.
_LONGEST_S = 10_000
_SHORTEST_MS = 60_000
# No item and no play is longer than a year; larger numbers are damage, and do not fit into the rows that are sorted.
MAX_DURATION_MS = 366 * 86_400_000


def read_at(value: object, unit: str) -> int:
    """Parse a time.

    Args:
        value: A number, a number as text, or ISO 8601 (UTC if it has no zone).
        unit: Any `AtUnit` but auto.

    Returns:
        UTC epoch ms.

    Raises:
        ValueError: It is not a time in the unit; says what was expected and what was found.
    """
    if unit == "iso":
        if not isinstance(value, str):
            msg = f"expected an ISO 8601 time, got {value!r}"
            raise ValueError(msg)
        return _read_iso(value)
    number = as_number(value)
    at = None if number is None else _converted(number, unit)
    if at is None:
        msg = f"expected a time in {unit}, got {value!r}"
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
        msg = f"expected published to be a year, a day or epoch ms, got {str(value)[:40]!r}"
        raise ValueError(msg)
    if published_time_fault(at) is None:
        return at
    unit = None if number is None else unit_of(number)
    return None if number is None or unit is None else to_ms(number, unit)


def require_at(at: int, latest_at: int) -> None:
    """Refuse a time at which nothing can have been played.

    Args:
        at: UTC epoch ms.
        latest_at: The current time, plus a tolerance for clocks.

    Raises:
        ValueError: It is outside the valid range.
    """
    if not is_event_time(at, latest_at):
        msg = f"expected a time from 2000-01-01 until now, got {describe_at(at)}"
        raise ValueError(msg)


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
    fitting = [unit for unit in get_args(AtUnit)[1:] if values and _share(values, unit, latest_at) >= _ENOUGH]
    if len(fitting) == 1:
        return str(fitting[0])
    found = ", ".join(repr(value) for value in values[:3]) or "none"
    msg = (
        f"{name}: expected times of which the unit is clear (s, ms, us, ns or ISO 8601, from 2000-01-01 until now), "
        f"got {found}; check the column of `at`, and say --at-unit"
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
    if not values or _share(values, unit, latest_at) >= _ENOUGH:
        return
    try:
        gives = describe_at(read_at(values[0], unit))
    except ValueError as error:
        gives = str(error)
    better = next((other for other in get_args(AtUnit)[1:] if _share(values, other, latest_at) >= _ENOUGH), None)
    advice = f"it looks like --at-unit {better}" if better else "check the column of `at`"
    msg = f"{name}: --at-unit {unit} does not fit: {values[0]!r} gives {gives}; {advice}"
    raise DataError(msg)


def duration_unit(values: Sequence[object], unit: str, name: str) -> tuple[str, str | None]:
    """Detect or check the unit of durations.

    Args:
        values: Durations (or listened times) in the first rows.
        unit: A `DurationUnit`.
        name: Name of the file, for messages.

    Returns:
        The unit, and a warning if the given one looks wrong.

    Raises:
        DataError: None was given and the values fit both units.
    """
    numbers = sorted(number for value in values if (number := as_number(value)) is not None and number > 0)
    if not numbers:
        return ("ms" if unit == "auto" else unit), None
    long = numbers[int(0.9 * (len(numbers) - 1))]
    likely = "s" if long < _LONGEST_S else "ms" if long >= _SHORTEST_MS else None
    if unit == "auto":
        if likely is None:
            msg = (
                f"{name}: expected durations of which the unit is clear, got {long:g} for a long one: "
                f"{long / 3600:.1f} h in seconds, {long / 1000:.0f} s in milliseconds; give --duration-unit"
            )
            raise DataError(msg)
        return likely, None
    if likely is not None and likely != unit:
        seconds = long if unit == "s" else long / 1_000
        return unit, f"{name}: with --duration-unit {unit} a long duration is {seconds:g} s; it looks like {likely}"
    return unit, None


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
    duration_ms = None if number is None else _converted(number, unit)
    if duration_ms is None or not 0 <= duration_ms <= MAX_DURATION_MS:
        msg = f"expected {name} in {unit}, at most a year, got {value!r}"
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
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def describe_at(at: int) -> str:
    """Write a time for people, also one that no calendar holds."""
    try:
        return f"{datetime.fromtimestamp(at / 1_000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{at} ms, {'after' if at > 0 else 'before'} any calendar"


def _converted(number: float, unit: str) -> int | None:
    """Convert to milliseconds; None where the number is too large for it."""
    try:
        return to_ms(number, cast(TimeUnit, unit))
    except OverflowError:
        return None


def _share(values: Sequence[object], unit: str, latest_at: int) -> float:
    fitting = 0
    for value in values:
        try:
            fitting += is_event_time(read_at(value, unit), latest_at)
        except ValueError:
            continue
    return fitting / max(1, len(values))


def _read_iso(value: str) -> int:
    text = value.strip().removesuffix(" UTC")
    # The standard library accepts a plain number as ISO 8601's basic form of a date, which is never intended here.
    if as_number(text) is not None:
        msg = f"expected an ISO 8601 time, got {value!r}"
        raise ValueError(msg)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"expected an ISO 8601 time such as 2026-03-01T12:00:00Z, got {value!r}"
        raise ValueError(msg) from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)
