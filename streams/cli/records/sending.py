"""Events to be sent: one given as JSON, or those of a file or of standard input, each with its place for messages.

A file is checked whole before its first event is published: a bad line in it publishes nothing. Standard input cannot
be read twice, so a bad line there says how many events before it were published.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import STDIN
from sidestream.models.data.importers.shown import utf8_fault
from sidestream.models.records import CatalogItem, Record
from sidestream.models.records.times import describe_at
from sidestream.streams.cli.records.compose import What, parse_event
from sidestream.streams.errors import BrokerError, DataError, SettingsError
from sidestream.streams.settings import Settings

Parse = Callable[[str], Record]
# Bounds what waits for its acknowledgement.
FLUSH_EVERY = 1_000


def is_file(value: str) -> bool:
    """Tell whether an argument names a file: it is neither JSON itself nor standard input."""
    return value != STDIN and value.strip()[:1] not in ("", "{", "[", '"')


def publish_all(records: Iterable[Record], publish: Callable[[Record], object], flush: Callable[[], None]) -> int:
    """Publish many events, without waiting for each.

    Args:
        records: What to publish.
        publish: Sends one in the background.
        flush: Waits until all that was sent is acknowledged.

    Returns:
        How many were published.

    Raises:
        BrokerError: One was not delivered; says how many were before.
    """
    acknowledged = sent = 0
    try:
        for sent, record in enumerate(records, start=1):
            publish(record)
            if sent % FLUSH_EVERY == 0:
                flush()
                acknowledged = sent
        flush()
    except BrokerError as error:
        msg = (
            f"{error}; the first {acknowledged:,} events were published, and some of the {sent - acknowledged:,} after"
        )
        raise BrokerError(msg) from error
    return sent


def warn_of_expired(records: Iterable[Record], say: Callable[[str], None], now_ms: int) -> Iterator[Record]:
    """Pass events on, and at their end tell of the items that were expired already: they never become candidates.

    Args:
        records: What is published.
        say: Tells the person.
        now_ms: UTC epoch ms.

    Yields:
        The same events.
    """
    first, count = None, 0
    for record in records:
        if isinstance(record, CatalogItem) and record.expires_at is not None and record.expires_at <= now_ms:
            first, count = first or record, count + 1
        yield record
    if first is not None:
        more = f", and {count - 1:,} more" if count > 1 else ""
        when = describe_at(first.expires_at or 0)
        say(f"warning: no candidates, because their expires_at has passed: {first.item_id} ({when} UTC){more}")


def events_of(what: What, value: str, settings: Settings, *, ignore_unknown: bool = False) -> Iterator[Record]:
    """Read the events that an argument stands for.

    Args:
        what: Kind of event.
        value: A JSON object, a file, or `-` for standard input.
        settings: What workers take.
        ignore_unknown: Leave out unknown fields instead of refusing them.

    Yields:
        Events; those of a file once all of it is known to be sound.

    Raises:
        SettingsError: An event is malformed or a worker would not take it; names file and line.
        DataError: The file cannot be read.
    """
    parse = partial(parse_event, what, settings=settings, ignore_unknown=ignore_unknown)
    if value == STDIN:
        yield from _of_stream(parse)
    elif not is_file(value):
        yield parse(value)
    else:
        for _ in _of_file(what, Path(value), parse):
            pass
        yield from _of_file(what, Path(value), parse)


def _of_file(what: What, path: Path, parse: Parse) -> Iterator[Record]:
    try:
        for line, text in read_json(path):
            yield _parse(parse, f"{path}:{line}", text, "nothing was published")
    except DataError as error:
        if not path.exists():
            msg = f"{what}: expected a JSON object, a file or - for stdin, got {str(path)[:200]!r}, which is no file"
            raise SettingsError(msg) from error
        raise


def _of_stream(parse: Parse) -> Iterator[Record]:
    published = 0
    try:
        for line, text in read_json(STDIN):
            yield _parse(parse, f"stdin:{line}", text, _so_far(published))
            published += 1
    except DataError as error:
        msg = f"{error}; {_so_far(published)}"
        raise DataError(msg) from error


def _parse(parse: Parse, place: str, text: bytes, outcome: str) -> Record:
    if (fault := utf8_fault(text)) is not None:
        msg = f"{place}: {fault}; {outcome}"
        raise SettingsError(msg)
    try:
        return parse(text.decode())
    except SettingsError as error:
        msg = f"{place}: {error}; {outcome}"
        raise SettingsError(msg) from error


def _so_far(published: int) -> str:
    return f"the {published:,} events before it were published" if published else "nothing was published"
