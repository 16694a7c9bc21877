"""Selection of dead letters: by place, topic, reason, source partition, time and attempt."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sidestream.models.records.times import event_time_fault
from sidestream.streams.errors import SettingsError
from sidestream.streams.operate.deadletters.letter import Letter, Place

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# Not longer than a time in milliseconds.
_AGO = re.compile(r"(\d{1,13})([smhd])")
_EPOCH_MS = re.compile(r"\d{1,13}")


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of dead letters; an empty criterion does not restrict it.

    Attributes:
        places: These letters only.
        topics: Source topics or dead-letter topics, with or without the installation's prefix.
        reasons: Reason codes.
        partitions: Source partitions.
        since_ms: Written to the dead letters at or after this time.
        until_ms: Written to the dead letters before this time.
        max_attempt: Delivered at most this often; 1 excludes records that failed again after a replay.
    """

    places: frozenset[Place] = frozenset()
    topics: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    max_attempt: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no criterion is set."""
        return self == Selection()

    def matches(self, letter: Letter) -> bool:
        """Whether a letter meets all criteria except `topics`, which the reader applies."""
        source_partition = None if letter.source is None else letter.source.partition
        return (
            (not self.places or letter.place in self.places)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.partitions or source_partition in self.partitions)
            and (self.since_ms is None or letter.died_at >= self.since_ms)
            and (self.until_ms is None or letter.died_at < self.until_ms)
            and (self.max_attempt is None or letter.attempt <= self.max_attempt)
        )


def parse_moment(text: str, now_ms: int) -> int:
    """Parse a point in time.

    Args:
        text: `90m`, `2h` or `7d` (ago), epoch milliseconds, or ISO 8601 (UTC if it names no zone).
        now_ms: The current time, UTC epoch milliseconds.

    Returns:
        UTC epoch milliseconds.

    Raises:
        SettingsError: The text has none of these forms, or no event can be of that time.
    """
    at_ms = _parsed(text, now_ms)
    if fault := event_time_fault(at_ms):
        msg = f"{text}: {fault}"
        raise SettingsError(msg)
    return at_ms


def _parsed(text: str, now_ms: int) -> int:
    if found := _AGO.fullmatch(text):
        return now_ms - int(found[1]) * _UNITS_MS[found[2]]
    if _EPOCH_MS.fullmatch(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text[:40]}: expected a time, for example 2h, 7d, 2026-03-01T12:00 or epoch milliseconds"
        raise SettingsError(msg) from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)
