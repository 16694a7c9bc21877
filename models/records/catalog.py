"""`catalog-items.v1` and `item-sids.v1`: items as published, and items with their SIDs.

Both topics are compacted and keyed by `item_id`; a null value removes the item.

The first wrong element of a list is named, and the rest of the list is not validated: pydantic takes 20 us for each
fault, and a value may have 100,000.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sidestream.models.records.base import AtMs, Id, Record
from sidestream.models.records.times import EARLIEST_FACT_AT, LATEST_AT, EventAt, ExpiresAt, PublishedAt

Kind = Literal["track", "episode", "audiobook", "live"]
Code = Annotated[int, Field(ge=0, le=65_535)]

_PUBLISHED = "When it was published; negative before 1970. Epoch milliseconds UTC; null means `at`."
_EXPIRES = (
    "From then on it is no candidate; null means never, and times after 2100 become 2100-01-01. Epoch milliseconds UTC."
)


def _known(duration_ms: int) -> int | None:
    return duration_ms or None


class Segment(Record):
    """A segment of a long item or of a live stream, described in text."""

    start_ms: int = Field(ge=0, description="Start in milliseconds from the start of the item.")
    end_ms: int = Field(gt=0, description="End in milliseconds from the start of the item.")
    text: str
    field: str | None = Field(default=None, description="What the text describes: events, dialogue, acoustics, …")


class ItemFacts(Record):
    """Metadata of an item that candidates, filters and displays use."""

    item_id: Id
    kind: Kind
    title: str = ""
    creator: str | None = Field(default=None, description="Artist, host, author or channel.")
    show: str | None = Field(default=None, description="Podcast, album, series or book that the item belongs to.")
    tags: tuple[str, ...] = Field(default=(), fail_fast=True)
    language: str | None = None
    market: tuple[str, ...] = Field(
        default=(), fail_fast=True, description="Markets where it may be played; empty means everywhere."
    )
    explicit: bool = False
    # Bounds of stored values; `CatalogItem` has those of accepted values.
    published_at: Annotated[int, Field(ge=EARLIEST_FACT_AT, le=LATEST_AT)] | None = Field(
        default=None, description=_PUBLISHED
    )
    expires_at: AtMs | None = Field(default=None, description=_EXPIRES)

    def facts(self) -> dict[str, Any]:
        """Return the facts by field, for a record that includes them."""
        return {name: getattr(self, name) for name in ItemFacts.model_fields if name not in Record.model_fields}


class CatalogItem(ItemFacts):
    """One item as published by its owner."""

    at: EventAt = Field(description="When this version of the item was written. Epoch milliseconds UTC.")
    description: str = ""
    duration_ms: Annotated[int, Field(ge=0), AfterValidator(_known)] | None = Field(
        default=None, description="Duration in milliseconds; null or 0 if unknown."
    )
    published_at: PublishedAt | None = Field(default=None, description=_PUBLISHED)
    expires_at: ExpiresAt | None = Field(default=None, description=_EXPIRES)
    views: dict[str, Annotated[tuple[float, ...], Field(fail_fast=True)]] | None = Field(
        default=None, description="Precomputed content vectors by view name."
    )
    segments: Annotated[tuple[Segment, ...], Field(fail_fast=True)] | None = None


class TokenizedItem(Record):
    """An item under one tokenizer version."""

    sid: tuple[Code, ...] = Field(min_length=1, description="Codes in level order.")
    vector: str = Field(description="Item vector: base64 of int8 components.")
    vector_scale: float = Field(ge=0, description="Component = int8 * vector_scale.")
    more_sids: tuple[tuple[Code, ...], ...] | None = Field(
        default=None,
        max_length=15,
        description="Additional SIDs under which the item can be reached; histories store sid.",
    )


class ItemSids(ItemFacts):
    """Value of `item-sids.v1`: an item's facts and its SID under every active tokenizer version."""

    source_offset: int = Field(
        ge=-1, le=2**63 - 1, description="Offset of the catalogue event that it was derived from; orders updates."
    )
    revision: int | None = Field(
        default=None,
        ge=0,
        lt=2**20,
        description="Number of times that a live item was tokenized again since that event: orders updates of equal "
        "source_offset. Missing: 0.",
    )
    versions: dict[str, TokenizedItem] = Field(min_length=1, description="SID and vector by tokenizer version.")
