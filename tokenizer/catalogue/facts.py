"""Input types of the catalogue: an item's facts, an update of one item, and a SID as histories store it."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.sid import Sid

# Leaves offsets below 2^43, which a partition of a million records a second reaches after 280 years.
REVISION_BITS = 20
MAX_SOURCE_OFFSET = 2 ** (63 - REVISION_BITS) - 1


class ItemFacts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Metadata of an item that candidates, filters and displays use.

    A msgspec struct because a catalogue stores facts as packed bytes: a Python object per item would take more memory
    than its vector. The order of the fields is the order of the packed bytes.

    Attributes:
        kind: track, episode, audiobook or live.
        title: Title for display.
        creator: Artist, host, author or channel.
        show: Podcast, album, series or book that the item belongs to.
        tags: Free-text tags.
        language: Language code; None where unknown.
        market: Markets where it may be played; empty means everywhere.
        explicit: Withheld from listeners who ask for clean content.
        published_at: UTC epoch ms; None where unknown.
        expires_at: UTC epoch ms from which it is no longer a candidate; None means never.
    """

    kind: str = "track"
    title: str = ""
    creator: str | None = None
    show: str | None = None
    tags: tuple[str, ...] = ()
    language: str | None = None
    market: tuple[str, ...] = ()
    explicit: bool = False
    published_at: int | None = None
    expires_at: int | None = None


_fields_of = attrgetter(*ItemFacts.__struct_fields__)


def facts_of(item: Any) -> ItemFacts:
    """Extract the facts from a record that has all attributes of `ItemFacts`."""
    return ItemFacts(*_fields_of(item))


@dataclass(frozen=True, slots=True)
class CatalogueUpdate:
    """An update of one item, as read from `item-sids.v1` for the catalogue's tokenizer version.

    Attributes:
        item_id: Key of the record.
        source_offset: Offset of the catalogue event that caused it; orders the updates of one item. None where the
            record does not carry it (a tombstone without headers): it then counts as the newest known.
        facts: None removes the item.
        sid: None where the item has no SID under this tokenizer version; it is then not a candidate.
        x_int8: Representation vector, int8 components as bytes or array; None only without a SID.
            Shape: (x_dim,).
        x_scale: Component = int8 * x_scale.
        revision: Number of changes to the item since that event without a new event; orders updates of equal offset.
        more_sids: Additional SIDs under which the item can be reached.
    """

    item_id: str
    source_offset: int | None
    facts: ItemFacts | None = None
    sid: Sid | None = None
    x_int8: bytes | npt.NDArray[np.int8] | None = None
    x_scale: float = 0.0
    revision: int = 0
    more_sids: tuple[Sid, ...] = ()

    @property
    def order(self) -> int | None:
        """Return the update's place in the order of the item's updates: source offset, then revision; or None."""
        return None if self.source_offset is None else (self.source_offset << REVISION_BITS) + self.revision

    @property
    def components(self) -> memoryview:
        """Return the vector's int8 components; empty without a vector."""
        if self.x_int8 is None or isinstance(self.x_int8, bytes):
            return memoryview(self.x_int8 or b"")
        return np.ascontiguousarray(self.x_int8).data


class StoredSid(NamedTuple):
    """A SID together with the tokenizer version that it belongs to."""

    tokenizer_version: str
    sid: Sid
