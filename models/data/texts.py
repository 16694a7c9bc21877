"""Content of a catalogue item for tokenization, the same for training, replay and the online tokenizer."""

from sidestream.models.records import CatalogItem
from sidestream.tokenizer.content import item_text
from sidestream.tokenizer.views import ContentSegment, ItemContent


def text_of(item: CatalogItem) -> str:
    """Return the text that the content encoder reads for an item.

    Args:
        item: The item as published.

    Returns:
        Text, cleaned and bounded.
    """
    return item_text(
        item.title,
        creator=item.creator,
        show=item.show,
        tags=item.tags,
        kind=item.kind,
        description=item.description,
    )


def content_of(item: CatalogItem) -> ItemContent:
    """Return the content of an item as input of a tokenizer.

    Args:
        item: The item as published.

    Returns:
        Its text, precomputed vectors and segments.

    Raises:
        TokenizerError: A segment is malformed, or a vector has the name of a text view.
    """
    segments = tuple(ContentSegment(part.start_ms, part.end_ms, part.text, part.field) for part in item.segments or ())
    return ItemContent(item.item_id, text_of(item), item.views or {}, segments)
