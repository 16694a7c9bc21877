"""Makes up live streams: each talks about one corner of the synthetic world, some about another from some moment on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sidestream.models.records import CatalogItem, LiveSegment
from sidestream.models.world.words import TASTES

SEGMENT_MS = 5_000
EPOCH_MS = 1_770_000_000_000

_SENTENCES = (
    "{} and {}, then {}",
    "on {} with {} and {}",
    "{}, {} and a word about {}",
    "a listener asks about {}; {} follows, and {}",
    "still {}, more {}, soon {}",
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One live stream.

    Attributes:
        item_id: Its id.
        taste: What it is about, and what its words say.
        begins_at: Epoch ms.
        seconds: How long it lasts.
        shifts_to: What it is about later; the same where it does not shift.
        shifts_s: When, in seconds from its beginning.
    """

    item_id: str
    taste: int
    begins_at: int
    seconds: int
    shifts_to: int
    shifts_s: int

    @property
    def shifts(self) -> bool:
        """Whether it shifts."""
        return self.shifts_to != self.taste

    def item(self, *, expires: bool = False) -> CatalogItem:
        """Say what the catalogue knows of it."""
        taste = TASTES[self.taste]
        return CatalogItem(
            item_id=self.item_id,
            kind="live",
            title=f"Live: {taste.live}",
            creator=f"Channel {taste.music.title()}",
            tags=("live", taste.music, taste.topic),
            description=f"Live now: {taste.live}, for friends of {taste.topic}.",
            at=self.begins_at,
            published_at=self.begins_at,
            expires_at=self.begins_at + self.seconds * 1_000 if expires else None,
        )

    def segments(self) -> Iterator[LiveSegment]:
        """Give its segments, one every five seconds, with some 14 words: as many as are spoken in that time."""
        rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(self.item_id.encode(), digest_size=4).digest()))
        for start_ms in range(0, self.seconds * 1_000, SEGMENT_MS):
            taste = self.shifts_to if start_ms >= self.shifts_s * 1_000 else self.taste
            end_ms = start_ms + SEGMENT_MS
            yield LiveSegment(
                item_id=self.item_id,
                at=self.begins_at + end_ms,
                start_ms=start_ms,
                end_ms=end_ms,
                text=f"{sentence(taste, rng)} {sentence(taste, rng)}",
                field="dialogue",
            )


def sentence(taste: int, rng: np.random.Generator) -> str:
    """Say something about one corner of the world."""
    corner = TASTES[taste]
    words = (*corner.subjects, *corner.sounds, corner.topic, corner.music)
    said = rng.choice(len(words), 3, replace=False)
    return _SENTENCES[int(rng.integers(len(_SENTENCES)))].format(*(words[word] for word in said)) + "."


def streams(count: int, seconds: int, seed: int) -> list[Stream]:
    """Make streams up: the first half steady, the others with a shift in their second half.

    Args:
        count: How many.
        seconds: How long each lasts.
        seed: Of all choices.

    Returns:
        The streams.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        taste, other = (int(one) for one in rng.choice(len(TASTES), 2, replace=False))
        begins_at = EPOCH_MS + int(rng.integers(SEGMENT_MS))
        shifts_s = int(rng.integers(seconds // 2, 3 * seconds // 4)) // 5 * 5
        made.append(
            Stream(f"live-{number:05d}", taste, begins_at, seconds, other if number >= count // 2 else taste, shifts_s)
        )
    return made
