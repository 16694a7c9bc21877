"""Valid times of records: the rule shared by decoders, the client, `sidestream send`, imports and log folders.

All times are UTC epoch milliseconds. If a producer sends seconds, microseconds or nanoseconds, the error says so: all
events of this system are between 2000 and 2100, and a time in another unit is outside that range.

Facts of an item have a wider range. Music of 1960 has a negative `published_at`, and "never" is often written as the
year 9999, so a later `expires_at` becomes 2100. Both are refused if they look like another unit; a publication is also
refused after 2100.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

EARLIEST_EVENT_AT: Final = 946_684_800_000
"""2000-01-01."""
LATEST_AT: Final = 4_102_444_800_000
"""2100-01-01."""
LATEST_UNSTAMPED_AT: Final = 2_147_483_648_000
"""2038-01-19, where clocks of 32 bits end: bound of a listen or an item whose record has no Kafka timestamp."""
EARLIEST_FACT_AT: Final = -62_135_596_800_000
"""0001-01-01, the first day of most calendars; earlier times become it."""
UNKNOWN_PUBLISHED_AT: Final = EARLIEST_FACT_AT
"""Publication of an item that is not new, as far as is known: without `published_at` it would count from `at`."""
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
    """Return whether a time (UTC epoch ms) is valid for an event, that is, not after `latest_at` such as now."""
    return EARLIEST_EVENT_AT <= at <= min(latest_at, LATEST_AT)


def unit_of(at: float) -> TimeUnit | None:
    """Guess the unit of a time from its size: the one in which it is between 2000 and 2100.

    The ranges do not overlap: each unit is a thousand times the next, and the number for 2100 is 4.3 times that for
    2000.

    Args:
        at: Time since 1970-01-01 UTC in an unknown unit.

    Returns:
        The unit; None if it fits none, for example for infinity.
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


def describe_at(at: int) -> str:
    """Write a time (UTC epoch ms) for people, also one that no calendar holds."""
    try:
        return f"{datetime.fromtimestamp(at / 1_000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{_number(at)} ms, {'after' if at > 0 else 'before'} any calendar"


def _number(at: float) -> str:
    """Write a number, as a power of ten where it has more digits than anyone reads; Python refuses to write 4,300."""
    return f"{at}" if abs(at) < 10**20 else f"{Decimal(at):.2E}"


def event_time_fault(at: float) -> str | None:
    """Return what is wrong with the time of an event, as received; None if it is valid."""
    if is_event_time(at):
        return None
    unit = _other_unit(at)
    if unit is not None:
        return f"{_number(at)} looks like {unit}; {_EXPECTED}"
    return f"{_number(at)} is {'before 2000-01-01' if at < EARLIEST_EVENT_AT else 'after 2100-01-01'}; {_EXPECTED}"


def published_time_fault(at: float) -> str | None:
    """Return what is wrong with a publication time, as received; None if it is valid."""
    unit = _other_unit(at)
    # Times that look like seconds are within 37 days of 1970. Publication times are whole hours, seconds rarely are.
    if at > LATEST_AT or (unit == "seconds" and at % _HOUR_MS):
        guess = f"looks like {unit}" if unit is not None else "is after 2100-01-01"
        return f"{_number(at)} {guess}; expected milliseconds since 1970-01-01 UTC, until 2100-01-01"
    return None


def expiry_time_fault(at: float) -> str | None:
    """Return what is wrong with an expiry time, as received; None if it is valid or in the far future."""
    unit = _other_unit(at)
    if unit is not None:
        return f"{_number(at)} looks like {unit}; expected milliseconds since 1970-01-01 UTC"
    return f"{_number(at)} is before 1970-01-01; expected milliseconds since then (UTC)" if at < 0 else None


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
"""Time of an event."""
PublishedAt = Annotated[
    int, _checked(published_time_fault, EARLIEST_FACT_AT), Field(json_schema_extra={"maximum": LATEST_AT})
]
"""Publication time of an item, as given by its owner."""
ExpiresAt = Annotated[int, _checked(expiry_time_fault, 0), Field(json_schema_extra={"minimum": 0})]
"""Expiry time of an item, as given by its owner."""
