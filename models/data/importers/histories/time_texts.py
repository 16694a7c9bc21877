"""Times as text: ISO 8601, dates with the name of the month, given formats, and what other times look like.

A day and a month in numbers are never guessed: 03/04/2026 is March in one country and April in another.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sidestream.models.errors import DataError
from sidestream.models.records.times import TimeUnit, is_event_time, to_ms, unit_of

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_NAMED = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
    r"(?:(?P<day>\d{1,2})[\s-]+(?P<month>[a-z]{3,9})\.?,?[\s-]+|(?P<month_first>[a-z]{3,9})\.?\s+(?P<day_second>\d{1,2}),?\s+)"
    r"(?P<year>\d{4})"
    r"(?:,?(?:\s+at)?\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?\s*(?P<half>[ap]m)?)?"
    r"\s*(?:utc|gmt|z)?(?P<offset>[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})(?:(,?\s+)\d{1,2}:\d{2}(:\d{2})?(?:\s*([ap]m))?)?", re.IGNORECASE
)
_ZONE_NAME = re.compile(r"\d{4}-\d{2}-\d{2}[T ][\d:.+-]+\s*\[?([A-Za-z]+(?:/[A-Za-z_]+)+|[A-Z]{3,5})\]?")
_SEPARATED = re.compile(r"\d{1,3}([,.' \u2019\u00a0\u202f]\d{3})+|\d+,\d+")
# What spreadsheets and %e show; a float written whole has more, or is a whole day.
_MAX_ROUNDED_DIGITS = 7
# Days since 1899-12-30, as spreadsheets count them, from 2000 to 2100.
_SERIALS = range(36_526, 73_051)
_SPREADSHEET_DAY_0 = datetime(1899, 12, 30, tzinfo=UTC)
_DAY_MS = 86_400_000
# All of its parts differ.
_SAMPLE = datetime(2026, 11, 30, 22, 47, 58)  # noqa: DTZ001


def read_text(text: str) -> int | None:
    """Read ISO 8601, or a date with the English name of the month, such as `01 Jan 2026 00:58`.

    Args:
        text: The text; UTC if it has no zone.

    Returns:
        UTC epoch ms; None if it is neither.
    """
    try:
        return _epoch_ms(datetime.fromisoformat(text.removesuffix(" UTC")))
    except ValueError:
        return _read_named(text)


def read_format(text: str, time_format: str) -> int | None:
    """Read a time in a format of `strptime`; UTC if it has no zone, None if it does not fit."""
    try:
        return _epoch_ms(datetime.strptime(text, time_format))  # noqa: DTZ007
    except ValueError:
        return None


def check_format(time_format: str) -> None:
    """Refuse a format that gives no moment.

    Args:
        time_format: Format of `strptime`.

    Raises:
        DataError: It is invalid, lacks year, month or day, or has zones by name, which are not read.
    """
    try:
        found = datetime.strptime(_SAMPLE.replace(tzinfo=UTC).strftime(time_format), time_format).date()  # noqa: DTZ007
    except ValueError:
        found = None
    if found != _SAMPLE.date() or "%Z" in time_format:
        msg = (
            "--at-format: expected a format of Python's strptime with year, month and day, such as '%d.%m.%Y %H:%M' "
            f"(zones as %z, without one: UTC), got {time_format!r}"
        )
        raise DataError(msg)


def is_rounded(text: str, unit: TimeUnit) -> bool:
    """Return whether a number with an exponent has lost its seconds, as 1.77E+09 has.

    A whole day is exact: its zeros are digits that were left out.

    Args:
        text: A number.
        unit: Unit of time.

    Returns:
        Whether its last digit is coarser than a second.
    """
    if "e" not in text.lower():
        return False
    number = Decimal(text.strip())
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or not 0 < exponent < 20 or len(digits) > _MAX_ROUNDED_DIGITS:
        return False
    return to_ms(10**exponent, unit) > 1_000 and to_ms(float(number), unit) % _DAY_MS != 0


def time_fault(value: object) -> str | None:
    """Say what a value that is no time looks like, and what to do.

    Args:
        value: A value of a column of times.

    Returns:
        The cause; None if it is not recognised.
    """
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if found := _NUMBERS.fullmatch(text):
        return _numbers_fault(found)
    if found := _ZONE_NAME.fullmatch(text):
        return f"the zone {found[1]} is a name; expected UTC or an offset such as +01:00"
    if _SEPARATED.fullmatch(text):
        return "a number with separators; expected digits, with a point before decimals"
    try:
        number = float(text)
    except ValueError:
        return None
    if _SERIALS.start <= number < _SERIALS.stop:
        moment = _SPREADSHEET_DAY_0 + timedelta(days=number)
        return (
            f"looks like a spreadsheet's number of {moment:%Y-%m-%d %H:%M}; give the column the format "
            "yyyy-mm-dd hh:mm:ss and export it again"
        )
    unit = unit_of(number)
    if unit is not None and is_event_time(to_ms(number, unit)) and is_rounded(text, unit):
        return (
            "rounded by the display format of a spreadsheet; give the column a number format without exponent and "
            "export it again"
        )
    return None


def _numbers_fault(found: re.Match[str]) -> str:
    mark, year, gap, second, half = found.groups()
    time = "" if gap is None else f"{gap}{'%I' if half else '%H'}:%M{':%S' if second else ''}"
    time += f"{' ' if half and found[0][-3].isspace() else ''}%p" if half else ""
    year = "%Y" if len(year) == 4 else "%y"
    formats = [f"'%d{mark}%m{mark}{year}{time}'"] + ([] if mark == "." else [f"'%m{mark}%d{mark}{year}{time}'"])
    return f"day and month are numbers; say which is which: --at-format {' or '.join(formats)}"


def _read_named(text: str) -> int | None:
    found = _NAMED.fullmatch(text)
    if found is None:
        return None
    name = (found["month"] or found["month_first"]).lower()
    month = next((number for number, month in enumerate(_MONTHS, 1) if month.startswith(name)), None)
    hour, half = int(found["hour"] or 0), (found["half"] or "").lower()
    if month is None or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    day, minute, second = found["day"] or found["day_second"], found["minute"] or "00", found["second"] or "00"
    offset = found["offset"] or "+00:00"
    try:
        return _epoch_ms(
            datetime.fromisoformat(f"{found['year']}-{month:02}-{day:0>2}T{hour:02}:{minute}:{second}{offset}")
        )
    except ValueError:
        return None


def _epoch_ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)
