"""How one update becomes one row: packed texts, hashes, columns.

This is the part of an update that is paid per item (some microseconds); all the rest is done per batch.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.expiries import NEVER_MS
from sidestream.tokenizer.catalogue.facts import CatalogueUpdate, ItemFacts
from sidestream.tokenizer.catalogue.rows import UNKNOWN_S
from sidestream.tokenizer.errors import CatalogueError
from sidestream.tokenizer.sid import Sid, item_key

_encoder = msgspec.msgpack.Encoder()
_MAX_TRAITS = 2**16 - 1
_MAX_ID_BYTES = 2**16 - 1
_LAST_S = 2**32 - 1


@dataclass(slots=True)
class Change:
    """What a batch of updates makes of one item, before anything is touched."""

    item_id: str
    row: int
    order: int
    alive: bool
    upsert: CatalogueUpdate | None = None


class EncodedItem(NamedTuple):
    """An upsert with its parts as a row holds them."""

    update: CatalogueUpdate
    facts: ItemFacts
    sid: Sid
    more_sids: tuple[Sid, ...]
    x_int8: bytes
    id_text: bytes
    facts_text: bytes
    fingerprint: bytes


class Traits(NamedTuple):
    """What rules judge an item by, shared by all items that are alike in it.

    Attributes:
        market: Where it may be played; empty for everywhere.
        language: Language code; None where unknown.
        kind: track, episode, audiobook or live.
        explicit: Kept from those who ask for clean content.
    """

    market: frozenset[str]
    language: str | None
    kind: str
    explicit: bool


class TraitSets:
    """The different traits that items have, numbered.

    Args:
        listed: Traits by number, where they have numbers already.
    """

    def __init__(self, listed: Iterable[Traits] = ()) -> None:
        self._numbers: dict[Traits, int] = {}
        for traits in listed:
            self._numbers.setdefault(traits, len(self._numbers))

    def number(self, facts: ItemFacts) -> int:
        """Return the number of an item's traits, the next free one where they are new.

        Args:
            facts: Of the item.

        Returns:
            The number.

        Raises:
            CatalogueError: There are as many different ones already as a row can tell apart.
        """
        traits = Traits(frozenset(facts.market), facts.language, facts.kind, facts.explicit)
        number = self._numbers.setdefault(traits, len(self._numbers))
        if number > _MAX_TRAITS:
            del self._numbers[traits]
            msg = (
                f"items have more than {_MAX_TRAITS} different combinations of markets, language, kind and explicit; "
                "list fewer combinations of markets"
            )
            raise CatalogueError(msg)
        return number

    def listed(self) -> tuple[Traits, ...]:
        """Return all traits by number."""
        return tuple(self._numbers)


def encode_item(update: CatalogueUpdate) -> EncodedItem:
    """Pack what an upsert says.

    Args:
        update: A checked upsert with a SID.

    Returns:
        The packed item.

    Raises:
        CatalogueError: The update is none, or its id is too long.
    """
    if update.facts is None or update.sid is None or update.x_int8 is None:
        msg = f"item {update.item_id!r}: expected an upsert with facts, SID and vector to encode, got a removal"
        raise CatalogueError(msg)
    id_text = update.item_id.encode("utf-8", "surrogatepass")
    if len(id_text) > _MAX_ID_BYTES:
        msg = f"item {update.item_id[:40]!r}...: expected an id of at most {_MAX_ID_BYTES} bytes, got {len(id_text)}"
        raise CatalogueError(msg)
    sid = tuple(map(int, update.sid))
    x_int8 = update.x_int8 if type(update.x_int8) is bytes else update.components.tobytes()
    facts_text = _encoder.encode(update.facts)
    more_sids = tuple(dict.fromkeys(tuple(map(int, more)) for more in update.more_sids if tuple(more) != sid))
    facts_said = facts_text + _encoder.encode(more_sids) if more_sids else facts_text
    said = b"".join((_encoder.encode((sid, update.x_scale)), x_int8, facts_said))
    fingerprint = hashlib.blake2b(said, digest_size=8).digest()
    return EncodedItem(update, update.facts, sid, more_sids, x_int8, id_text, facts_text, fingerprint)


def item_columns(items: Sequence[EncodedItem], keys: Sequence[int], traits: TraitSets) -> dict[str, npt.NDArray[Any]]:
    """Lay items out as columns of the store, all but those that come from the model and from the writer.

    Args:
        items: Packed items.
        keys: Their keys.
        traits: Numbers what rules judge by.

    Returns:
        Columns by name; `text_starts` counts from the first of these items.
    """
    facts = [item.facts for item in items]
    id_bytes = np.array([len(item.id_text) for item in items], dtype=np.int64)
    facts_bytes = np.array([len(item.facts_text) for item in items], dtype=np.int64)
    lengths = id_bytes + facts_bytes
    return {
        "codes": np.array([item.sid for item in items], dtype=np.uint16),
        "keys": np.array(keys, dtype=np.uint64),
        "creator_keys": _name_keys([fact.creator for fact in facts]),
        "show_keys": _name_keys([fact.show for fact in facts]),
        "published_s": _seconds([fact.published_at for fact in facts]),
        "expires_at": np.array(
            [NEVER_MS if fact.expires_at is None else fact.expires_at for fact in facts], dtype=np.int64
        ),
        "traits": np.array([traits.number(fact) for fact in facts], dtype=np.int32),
        "fingerprints": np.frombuffer(b"".join([item.fingerprint for item in items]), dtype="<u8"),
        "text_starts": np.cumsum(lengths) - lengths,
        "id_bytes": id_bytes,
    }


# Creators and shows repeat; a hit costs a twentieth of the hash.
@lru_cache(maxsize=65_536)
def name_key(name: str) -> int:
    """Return the 32-bit hash of a creator or show: two of a listener's fifty share it with one item in 10^8."""
    return (item_key(name) & 0xFFFFFFFF) or 1


def _name_keys(names: Sequence[str | None]) -> npt.NDArray[np.uint32]:
    return np.array([name_key(name) if name else 0 for name in names], dtype=np.uint32)


def _seconds(times: Sequence[int | None]) -> npt.NDArray[np.uint32]:
    """Round times in ms to those that a column takes: what is known is none of the unknown, however old."""
    known = (UNKNOWN_S if at is None else min(max(at // 1_000, UNKNOWN_S + 1), _LAST_S) for at in times)
    return np.fromiter(known, dtype=np.uint32, count=len(times))
