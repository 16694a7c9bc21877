"""A full dump of the catalogue: one `catalog-items.v1` value per line, every item once.

The whole file is checked before anything is changed, because absent items are removed: a malformed line may be an item.
Items are kept in memory as digests, some 200 bytes each; their lines are read again when they are published.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pydantic import ValidationError

from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import Source, readable_again
from sidestream.models.records import CatalogItem
from sidestream.streams.contracts.decode import Limits, Reason, decode_catalog_item
from sidestream.streams.errors import BadRecord, DataError

_MAX_NAMED = 20
DIGEST_BYTES = 16


class _Head(msgspec.Struct, frozen=True, gc=False):
    item_id: str


_head_decoder = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Stored:
    """One item in the dump or the topic.

    Attributes:
        digest: Digest of all fields except the time of writing; None if the value cannot be read.
        at: Time of writing, UTC epoch ms.
    """

    digest: bytes | None
    at: int


@dataclass(frozen=True, slots=True)
class Dump:
    """A checked dump.

    Attributes:
        source: The file.
        items: By item id.
    """

    source: Source
    items: dict[str, Stored]

    @property
    def newest_at(self) -> int:
        """Return the latest time of writing of its items, UTC epoch ms; -1 without items."""
        return max((item.at for item in self.items.values()), default=-1)

    def lines(self) -> Iterator[CatalogItem]:
        """Read the items again, in the order of the file.

        Yields:
            Items.

        Raises:
            DataError: The file has changed since it was checked.
        """
        for number, line in read_json(self.source):
            try:
                item = CatalogItem.from_json(line)
            except ValidationError:
                item = None
            if item is None or self.items.get(item.item_id) != stored_of(item):
                msg = f"{self.source.name}:{number}: changed during the run; run again on a file that does not change"
                raise DataError(msg)
            yield item


def stored_of(item: CatalogItem) -> Stored:
    """Return digest and time of an item, for comparison."""
    fields = item.model_dump_json(exclude_none=True, exclude={"at", "schema_version"}).encode()
    return Stored(hashlib.blake2b(fields, digest_size=DIGEST_BYTES).digest(), item.at)


def read_dump(path: Path | str, limits: Limits, now_ms: int) -> Dump:
    """Check a dump.

    Args:
        path: JSON lines or a JSON array, also compressed; `-` for standard input.
        limits: What an item must keep.
        now_ms: UTC epoch ms: what the items' times are judged against, as if they were published now.

    Returns:
        The dump.

    Raises:
        DataError: Lines are malformed or repeat an item; names the first twenty.
    """
    items: dict[str, Stored] = {}
    line_of: dict[str, int] = {}
    faults: list[str] = []
    count = 0
    source = readable_again(path)
    for number, line in read_json(source):
        try:
            item = _read(line, limits, now_ms)
        except BadRecord as exc:
            fault = f"line {number}: {exc.reason}: {exc.detail}"
        else:
            if item.item_id not in items:
                items[item.item_id], line_of[item.item_id] = stored_of(item), number
                continue
            fault = f"line {number}: item {item.item_id!r} is already in line {line_of[item.item_id]}"
        count += 1
        if count <= _MAX_NAMED:
            faults.append(fault)
    if count:
        more = f"; and {count - len(faults)} more" if count > len(faults) else ""
        listed = "; ".join(faults) + more
        msg = f"{source.name}: {count} bad lines, so nothing was changed: {listed}; correct them and run it again"
        raise DataError(msg)
    return Dump(source, items)


def _read(line: bytes, limits: Limits, now_ms: int) -> CatalogItem:
    try:
        key = _head_decoder.decode(line).item_id.encode()
    except (msgspec.MsgspecError, UnicodeError):
        key = b"?"  # decoding the whole line below reports the fault
    item = decode_catalog_item(key, line, now_ms, limits)
    if item is None:
        raise BadRecord(Reason.NULL_VALUE, "expected an item, got none")
    return item
