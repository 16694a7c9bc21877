"""Encoding of updates as rows: packed texts, hashes, columns.

This is the part of an update whose cost is per item (some microseconds); everything else is done per batch.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.facts import CatalogueUpdate, ItemFacts
from sidestream.tokenizer.catalogue.rows import NEVER_MS, UNKNOWN_S
from sidestream.tokenizer.errors import CatalogueError
from sidestream.tokenizer.sid import Sid, item_key

_encoder = msgspec.msgpack.Encoder()
_MAX_TRAITS = 2**16 - 1
_MAX_ID_BYTES = 2**16 - 1
_LAST_S = 2**32 - 1


@dataclass(slots=True)
class Change:
    """The change that a batch of updates makes to one item, planned before anything is modified."""

    item_id: str
    row: int
    order: int
    alive: bool
    upsert: CatalogueUpdate | None = None


class EncodedItem(NamedTuple):
    """An upsert with its fields encoded as a row stores them."""

    update: CatalogueUpdate
    facts: ItemFacts
    sid: Sid
    more_sids: tuple[Sid, ...]
    x_int8: bytes
    id_text: bytes
    facts_text: bytes
    fingerprint: bytes


class Traits(NamedTuple):
    """The facts that rules look at, shared by all items that have the same.

    Attributes:
        market: Markets where it may be played; empty for everywhere.
        language: Language code; None where unknown.
        kind: track, episode, audiobook or live.
        explicit: Withheld from listeners who ask for clean content.
    """

    market: frozenset[str]
    language: str | None
    kind: str
    explicit: bool


class TraitSets:
    """The distinct traits that items have, numbered.

    Args:
        listed: Traits that have numbers already, in that order.
    """

    def __init__(self, listed: Iterable[Traits] = ()) -> None:
        self._numbers: dict[Traits, int] = {}
        for traits in listed:
            self._numbers.setdefault(traits, len(self._numbers))

    def number(self, facts: ItemFacts) -> int:
        """Return the number of an item's traits, the next free one if they are new.

        Args:
            facts: Facts of the item.

        Returns:
            The number.

        Raises:
            CatalogueError: All numbers that a row can store are taken.
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
    """Encode an upsert.

    Args:
        update: A checked upsert with a SID.

    Returns:
        The encoded item.

    Raises:
        CatalogueError: The update is a removal, or its id is too long.
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
    facts_part = facts_text + _encoder.encode(more_sids) if more_sids else facts_text
    content = b"".join((_encoder.encode((sid, update.x_scale)), x_int8, facts_part))
    fingerprint = hashlib.blake2b(content, digest_size=8).digest()
    return EncodedItem(update, update.facts, sid, more_sids, x_int8, id_text, facts_text, fingerprint)


def item_columns(items: Sequence[EncodedItem], keys: Sequence[int], traits: TraitSets) -> dict[str, npt.NDArray[Any]]:
    """Build the store's columns, except for those that come from the model and from the writer.

    Args:
        items: Encoded items.
        keys: Key of each item.
        traits: Numbers the traits of the items.

    Returns:
        Columns by name; `text_starts` is relative to the first of these items.
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


# Creators and shows repeat; a cache hit costs a twentieth of the hash.
@lru_cache(maxsize=65_536)
def name_key(name: str) -> int:
    """Return the 32-bit hash of a creator or show: one item in 10^8 collides with one of a listener's fifty names."""
    return (item_key(name) & 0xFFFFFFFF) or 1


def _name_keys(names: Sequence[str | None]) -> npt.NDArray[np.uint32]:
    return np.array([name_key(name) if name else 0 for name in names], dtype=np.uint32)


def _seconds(times: Sequence[int | None]) -> npt.NDArray[np.uint32]:
    """Round times in ms to the column's seconds; a known time, however old, never becomes the value for unknown."""
    known = (UNKNOWN_S if at is None else min(max(at // 1_000, UNKNOWN_S + 1), _LAST_S) for at in times)
    return np.fromiter(known, dtype=np.uint32, count=len(times))
