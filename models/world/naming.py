"""Titles, descriptions and tags of synthetic items: readable, invented, and informative of their taste."""

from collections.abc import Mapping
from typing import Any

from sidestream.models.records import CatalogItem, Kind
from sidestream.models.world.dice import Dice
from sidestream.models.world.words import ADJECTIVES, FIRST_NAMES, LAST_NAMES, MARK, MOODS, NOUNS, TASTES

SECOND_MS = 1_000
MINUTE_MS = 60_000


def group_name(dice: Dice, kind: Kind, taste: int, number: int) -> tuple[str, str]:
    """Invent a creator.

    Args:
        dice: Random stream.
        kind: Kind of its items.
        taste: Index into `TASTES`.
        number: Number of the group; makes names unique in large worlds.

    Returns:
        Name of the artist, show, book or channel, and of its performer.
    """
    pair = f"{dice.pick(ADJECTIVES)} {dice.pick(NOUNS)}"
    person = f"{dice.pick(FIRST_NAMES)} {dice.pick(LAST_NAMES)}"
    # The vocabulary has about a thousand pairs: names in larger worlds are numbered.
    suffix = f" {number}" if number >= 300 else ""
    if kind == "track":
        name = f"The {pair}s{suffix}" if dice.chance(500) else f"{person}{suffix}"
        return name, name
    if kind == "episode":
        return f"{pair}: talks on {TASTES[taste].topic}{suffix}", person
    if kind == "audiobook":
        return f"The {pair}{suffix}", person
    return f"Channel {TASTES[taste].music.title()}", "Channel host"


def track_item(dice: Dice, artist: str, taste: int, mood: int, facts: Mapping[str, Any]) -> CatalogItem:
    """Invent a track."""
    kind = TASTES[taste]
    first, second = dice.pick(kind.sounds), dice.pick(kind.sounds)
    return CatalogItem(
        **facts,
        kind="track",
        title=f"{dice.pick(ADJECTIVES)} {dice.pick(NOUNS)}",
        creator=artist,
        description=f"A {MOODS[mood]} {kind.music} track by {artist} with {first}. {MARK}",
        tags=tuple(dict.fromkeys((kind.music, MOODS[mood], first, second))),
        explicit=dice.chance(50),
        duration_ms=dice.between(140, 290) * SECOND_MS,
    )


def episode_item(dice: Dice, show: str, host: str, taste: int, number: int, facts: Mapping[str, Any]) -> CatalogItem:
    """Invent an episode of a show."""
    kind = TASTES[taste]
    first, second = dice.pick(kind.subjects), dice.pick(kind.subjects)
    return CatalogItem(
        **facts,
        kind="episode",
        title=f"#{number}: {first}" if first == second else f"#{number}: {first} and {second}",
        creator=host,
        show=show,
        description=f"{host} talks about {first} in a podcast on {kind.topic}. {MARK}",
        tags=tuple(dict.fromkeys((kind.topic, first, second))),
        language="en",
        duration_ms=dice.between(12, 55) * MINUTE_MS,
    )


def book_item(dice: Dice, book: str, author: str, taste: int, number: int, facts: Mapping[str, Any]) -> CatalogItem:
    """Invent a part of an audiobook."""
    kind = TASTES[taste]
    return CatalogItem(
        **facts,
        kind="audiobook",
        title=f"{book}, part {number}",
        creator=author,
        show=book,
        description=f"Part {number} of {book}, {kind.book} read by {author}. {MARK}",
        tags=(kind.book, "audiobook"),
        language="en",
        duration_ms=dice.between(25, 60) * MINUTE_MS,
    )


def live_item(dice: Dice, channel: str, taste: int, facts: Mapping[str, Any]) -> CatalogItem:
    """Invent a live stream that starts now and ends."""
    kind = TASTES[taste]
    duration_ms = dice.between(120, 300) * MINUTE_MS
    return CatalogItem(
        **facts,
        kind="live",
        title=f"Live: {kind.live}",
        creator=channel,
        show=channel,
        description=f"Live now on {channel}: {kind.live}, for friends of {kind.topic}. {MARK}",
        tags=("live", kind.music, kind.topic),
        duration_ms=duration_ms,
        expires_at=facts["at"] + duration_ms,
    )
