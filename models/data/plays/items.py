"""Items of an import: one per id, or one per name if a source has several ids for one item."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from sidestream.models.records import CatalogItem
from sidestream.models.records.base import MAX_ID_CHARS
from sidestream.models.records.catalog import Kind
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT

# An id that was sent with more names than this is a client's mistake, not one recording.
MAX_NAMES_OF_ID = 4


class Words(msgspec.Struct, frozen=True, gc=False):
    """Data of a row on its item; the fields are those of `CatalogItem`."""

    kind: Kind = "track"
    title: str = ""
    creator: str | None = None
    show: str | None = None
    tags: tuple[str, ...] = ()
    language: str | None = None
    explicit: bool = False
    description: str = ""
    duration_ms: int | None = None
    published_at: int | None = None

    def filled_from(self, older: "Words") -> "Words":
        """Return these data, with missing fields filled from an older row."""
        gaps = {name: getattr(older, name) for name in self.__struct_fields__ if not getattr(self, name)}
        return msgspec.structs.replace(self, **gaps) if any(gaps.values()) else self


@dataclass(slots=True)
class _Item:
    words: Words
    newest_at: int
    id: str | None
    names: int = 0
    other_ids: set[str] = field(default_factory=set)


class Items:
    """All items of an import, held in memory: some 500 bytes each.

    The data of an item's newest row are used; missing fields are filled from older rows.

    Attributes:
        doubtful: Ids that were sent with too many names to be valid.
    """

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._by_id: dict[str, int] = {}
        self._by_name: dict[bytes, int] = {}
        self.doubtful: set[str] = set()

    def __len__(self) -> int:
        return len(self._items)

    def of_id(self, item_id: str, words: Words | None, at: int = -1) -> str:
        """Add an item identified by its id.

        Args:
            item_id: Id of the item.
            words: Data of the row; None for none.
            at: Time of the row; the newest counts.

        Returns:
            Its name for `Play.item`.
        """
        index = self._by_id.get(item_id)
        if index is None:
            index = self._by_id[item_id] = self._new(item_id, words or Words(), at if words else -2)
        elif words is not None:
            self._learn(index, words, at)
        return str(index)

    def of_name(self, ids: tuple[str, ...], words: Words, at: int) -> str:
        """Add an item that may have several ids: the same creator and title are one item.

        Args:
            ids: Ids in the row, best first; may be empty. Another spelling under a known id is the same item, up to
                `MAX_NAMES_OF_ID` spellings.
            words: Data of the row; title and creator identify the item.
            at: Time of the row.

        Returns:
            Its name for `Play.item`.
        """
        name = name_key(words)
        index = self._by_name.get(name)
        if index is None:
            index = next((found for item_id in ids if (found := self._believed(item_id)) is not None), None)
            if index is None:
                index = self._new(None, words, at)
            self._by_name[name] = index
            self._items[index].names += 1
        self._learn(index, words, at)
        item = self._items[index]
        for item_id in ids:
            if self._by_id.setdefault(item_id, index) == index and item.id is None:
                item.id = item_id
        return str(index)

    def item_id(self, name: str) -> str:
        """Return the id under which an item (a name from `of_id` or `of_name`) is published."""
        item = self._items[int(name)]
        return item.id if item.id is not None else f"name:{name_key(item.words).hex()}"

    def records(self, at: int) -> Iterator[CatalogItem]:
        """Yield all items in order of ids, written at `at`; one of unknown publication does not count as new."""
        for item_id, index in sorted((self.item_id(str(index)), index) for index in range(len(self._items))):
            fields = msgspec.structs.asdict(self._items[index].words)
            if fields["published_at"] is None:
                fields["published_at"] = UNKNOWN_PUBLISHED_AT
            yield CatalogItem(item_id=item_id, at=at, **fields)

    def _new(self, item_id: str | None, words: Words, at: int) -> int:
        self._items.append(_Item(words, at, item_id))
        return len(self._items) - 1

    def _learn(self, index: int, words: Words, at: int) -> None:
        item = self._items[index]
        if words is item.words or words == item.words:
            item.newest_at = max(at, item.newest_at)
        elif at >= item.newest_at:
            item.words, item.newest_at = words.filled_from(item.words), at
        else:
            item.words = item.words.filled_from(words)

    def _believed(self, item_id: str) -> int | None:
        index = self._by_id.get(item_id)
        if index is not None and self._items[index].names >= MAX_NAMES_OF_ID:
            self.doubtful.add(item_id)
            return None
        return index


def name_key(words: Words) -> bytes:
    """Reduce the name of an item to a key that ignores case, encoding of accents, and spaces.

    Args:
        words: Kind, title and creator (of episodes and parts of books: the show too).

    Returns:
        12 bytes.
    """
    show = words.show or "" if words.kind != "track" else ""
    parts = (words.kind, *(" ".join(_folded(part).split()) for part in (words.creator or "", show, words.title)))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).digest()


def fits_id(text: str) -> bool:
    """Return whether a text is a valid id."""
    return 0 < len(text) <= MAX_ID_CHARS


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
