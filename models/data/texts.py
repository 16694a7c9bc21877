"""Owns what stands for a catalogue item where it is tokenized: the same for training, replay and the live tokenizer."""

from sidestream.models.records import CatalogItem
from sidestream.tokenizer.content import item_text
from sidestream.tokenizer.views import ContentSegment, ItemContent


def text_of(item: CatalogItem) -> str:
    """Return the text that the content encoder reads for an item.

    Args:
        item: The item as its owner published it.

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
    """Return all that a tokenizer may read of an item.

    Args:
        item: The item as its owner published it.

    Returns:
        Its words, its precomputed vectors and its segments.

    Raises:
        TokenizerError: A segment is malformed, or a vector has the name of a view that is made of words.
    """
    segments = tuple(ContentSegment(part.start_ms, part.end_ms, part.text, part.field) for part in item.segments or ())
    return ItemContent(item.item_id, text_of(item), item.views or {}, segments)
