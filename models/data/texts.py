"""Owns the text that stands for a catalogue item: one function for training, replay and the live tokenizer."""

from models.records import CatalogItem
from tokenizer.content import item_text


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
