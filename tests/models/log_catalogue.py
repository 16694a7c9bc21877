"""The items of a log folder that are in the catalogue at a time."""

from sidestream.models.data import LogFolder
from sidestream.models.records import CatalogItem


def catalogue_at(folder: LogFolder, at: int | None = None) -> dict[str, CatalogItem]:
    """Return the items that are in the catalogue at a time, by id in order of first publication.

    Args:
        folder: Log folder.
        at: Epoch milliseconds; the end of the log without it. Items expired by then are left out.
    """
    items: dict[str, CatalogItem] = {}
    for event in folder.catalog():
        if at is not None and event.at > at:
            break
        if event.item is None:
            items.pop(event.item_id, None)
        else:
            items[event.item_id] = event.item
    if at is None:
        return items
    return {key: item for key, item in items.items() if item.expires_at is None or item.expires_at > at}
