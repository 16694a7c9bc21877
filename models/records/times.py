"""Which times records may carry: the one rule for decoders, the client, `sidestream send`, imports and log folders.

All times are UTC epoch milliseconds. Where a producer sends seconds, microseconds or nanoseconds, the error says so:
nothing that happens in this system happened before 2000 or happens after 2100, and a time in another unit lies outside.

Facts of an item are wider. Music of 1960 has a negative `published_at`, and "never" is often written as the year 9999,
so a later `expires_at` becomes 2100. Both are refused where they look like another unit, a publication also after 2100.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

EARLIEST_EVENT_AT: Final = 946_684_800_000
"""2000-01-01."""
LATEST_AT: Final = 4_102_444_800_000
"""2100-01-01."""
EARLIEST_FACT_AT: Final = -62_135_596_800_000
"""0001-01-01, the first day of most calendars; earlier times become it."""
ABSURD_TIME: Final = "absurd_time"
"""Type of the pydantic error, and the reason of the dead letter."""

TimeUnit = Literal["s", "ms", "us", "ns"]
UNIT_NAMES: Final[Mapping[TimeUnit, str]] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}

_HOUR_MS = 3_600_000
_PER_S: Mapping[TimeUnit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EXPECTED = "expected milliseconds since 1970-01-01 UTC, from 2000-01-01 to 2100-01-01"


def is_event_time(at: float, latest_at: int = LATEST_AT) -> bool:
    """Judge whether something can have happened at a time.

    Args:
        at: UTC epoch ms.
        latest_at: Nothing is later than this, such as the present.

    Returns:
        Whether the time is in the range.
    """
    return EARLIEST_EVENT_AT <= at <= min(latest_at, LATEST_AT)


def unit_of(at: float) -> TimeUnit | None:
    """Guess the unit of a time from its size: the one in which it lies between 2000 and 2100.

    The ranges do not overlap: each unit is a thousand times the next, and the number for 2100 is 4.3 times that for
    2000.

    Args:
        at: Time since 1970-01-01 UTC in an unknown unit.

    Returns:
        The unit; None where it fits none, as for an infinite number.
    """
    return next(
        (unit for unit, per_s in _PER_S.items() if EARLIEST_EVENT_AT * per_s <= at * 1_000 <= LATEST_AT * per_s), None
    )


def to_ms(value: float, unit: TimeUnit) -> int:
    """Convert a time or a duration to milliseconds.

    Args:
        value: The number.
        unit: Its unit.

    Returns:
        Rounded to whole milliseconds.

    Raises:
        ValueError: The number is not finite.
        OverflowError: The number is too large for a float in milliseconds.
    """
    return round(value * 1_000 / _PER_S[unit])


def event_time_fault(at: float) -> str | None:
    """Judge when something happened.

    Args:
        at: UTC epoch ms, as it was received.

    Returns:
        What is wrong with it; None where nothing is.
    """
    if is_event_time(at):
        return None
    unit = _other_unit(at)
    if unit is not None:
        return f"{at} looks like {unit}; {_EXPECTED}"
    return f"{at} lies {'before 2000-01-01' if at < EARLIEST_EVENT_AT else 'after 2100-01-01'}; {_EXPECTED}"


def published_time_fault(at: float) -> str | None:
    """Judge when an item was published.

    Args:
        at: UTC epoch ms, as it was received.

    Returns:
        What is wrong with it; None where nothing is.
    """
    unit = _other_unit(at)
    # The times that look like seconds are 37 days of 1970. Dates of publication are whole hours, seconds hardly ever.
    if at > LATEST_AT or (unit == "seconds" and at % _HOUR_MS):
        guess = f"looks like {unit}" if unit is not None else "lies after 2100-01-01"
        return f"{at} {guess}; expected milliseconds since 1970-01-01 UTC, until 2100-01-01"
    return None


def expiry_time_fault(at: float) -> str | None:
    """Judge when an item expires.

    Args:
        at: UTC epoch ms, as it was received.

    Returns:
        What is wrong with it; None where nothing is, and for the far future.
    """
    unit = _other_unit(at)
    if unit is not None:
        return f"{at} looks like {unit}; expected milliseconds since 1970-01-01 UTC"
    return f"{at} lies before 1970-01-01; expected milliseconds since then (UTC)" if at < 0 else None


def _other_unit(at: float) -> str | None:
    unit = unit_of(at)
    return None if unit is None or unit == "ms" else UNIT_NAMES[unit]


def _checked(fault_of: Callable[[int], str | None], least: int) -> AfterValidator:
    def check(at: int) -> int:
        fault = fault_of(at)
        if fault is not None:
            raise PydanticCustomError(ABSURD_TIME, "{fault}", {"fault": fault})
        return min(max(at, least), LATEST_AT)

    return AfterValidator(check)


EventAt = Annotated[
    int,
    _checked(event_time_fault, EARLIEST_EVENT_AT),
    Field(json_schema_extra={"minimum": EARLIEST_EVENT_AT, "maximum": LATEST_AT}),
]
"""When something happened."""
PublishedAt = Annotated[
    int, _checked(published_time_fault, EARLIEST_FACT_AT), Field(json_schema_extra={"maximum": LATEST_AT})
]
"""When an item was published, as its owner says."""
ExpiresAt = Annotated[int, _checked(expiry_time_fault, 0), Field(json_schema_extra={"minimum": 0})]
"""When an item expires, as its owner says."""
