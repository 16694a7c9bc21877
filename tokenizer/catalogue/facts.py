"""What goes into the catalogue: an item's facts, one update of one item, and a SID as histories store it."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.sid import Sid

# Offsets below 2^43 are left, which a partition of a million records a second reaches after 280 years.
REVISION_BITS = 20
MAX_SOURCE_OFFSET = 2 ** (63 - REVISION_BITS) - 1


class ItemFacts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What candidates, filters and people need to know of an item.

    A msgspec struct because a catalogue keeps facts as packed bytes: a Python object per item would cost more memory
    than its vector. The order of the fields is that of the packed bytes.

    Attributes:
        kind: track, episode, audiobook or live.
        title: For people.
        creator: Artist, host, author or channel.
        show: Podcast, album, series or book that the item belongs to.
        tags: Free words.
        language: Language code.
        market: Where it may be played; empty means everywhere.
        explicit: Kept from those who ask for clean content.
        published_at: UTC epoch ms; None where unknown.
        expires_at: UTC epoch ms from which on it is no candidate; None means never.
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
    """Take the facts out of a record that has them among its fields.

    Args:
        item: Has all attributes of `ItemFacts`.

    Returns:
        The facts alone.
    """
    return ItemFacts(*_fields_of(item))


@dataclass(frozen=True, slots=True)
class CatalogueUpdate:
    """One item as `item-sids.v1` says it, under the catalogue's tokenizer version.

    Attributes:
        item_id: Key of the record.
        source_offset: Offset of the catalogue event behind it; orders the updates of one item. None where the record
            does not carry it (a bare tombstone): it then counts as the newest known.
        facts: None removes the item.
        sid: None where the item has no SID under this tokenizer version: it is then no candidate.
        x_int8: Representation vector, int8 components as bytes or array; None only without a SID.
            Shape: (x_dim,).
        x_scale: Component = int8 * x_scale.
        revision: Counts what changed the item since that event without another one: orders updates of equal offset.
        more_sids: Further SIDs under which the item can be reached, too.
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
        """Return what orders the updates of one item: source offset, then revision; None where it carries none."""
        return None if self.source_offset is None else (self.source_offset << REVISION_BITS) + self.revision

    @property
    def components(self) -> memoryview:
        """Return the vector's components as they came; empty without a vector."""
        if self.x_int8 is None or isinstance(self.x_int8, bytes):
            return memoryview(self.x_int8 or b"")
        return np.ascontiguousarray(self.x_int8).data


class StoredSid(NamedTuple):
    """A SID together with the tokenizer version that gives it meaning."""

    tokenizer_version: str
    sid: Sid
