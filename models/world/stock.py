"""Catalogue of the synthetic world during the simulation: creators, their items, and daily additions and removals."""

from dataclasses import dataclass, field

from sidestream.models.records import CatalogItem, Kind
from sidestream.models.world.dice import Dice
from sidestream.models.world.naming import book_item, episode_item, group_name, live_item, track_item
from sidestream.models.world.settings import WorldSettings
from sidestream.models.world.words import MARKETS, TASTES

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
FOREVER = 1 << 62
CADENCES = (1, 3, 7, 7, 7)


@dataclass(slots=True)
class Group:
    """A creator of items in order: an artist, a show, a book or a live channel.

    Attributes:
        index: Number of the group.
        kind: Kind of its items.
        taste: Index into `TASTES`.
        name: Title of the show or book, name of the artist or channel.
        host: Speaker or author; the artist itself for music.
        cadence: Days between episodes.
        items: Item numbers in order of publication.
    """

    index: int
    kind: Kind
    taste: int
    name: str
    host: str
    cadence: int
    items: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Change:
    """Addition of an item, or removal (`item` is None)."""

    at: int
    item_id: str
    item: CatalogItem | None


class Stock:
    """All groups and items; `open_day` advances it by a day.

    Args:
        settings: Sizes and seed.
    """

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.groups: list[Group] = []
        # By kind and taste, popular ones first.
        self.shelves: dict[Kind, list[list[Group]]] = {
            kind: [[] for _ in TASTES] for kind in ("track", "episode", "audiobook", "live")
        }
        self.ids: list[str] = []
        self.group_of: list[Group] = []
        self.place_of: list[int] = []
        self.duration_of: list[int] = []
        self.mood_of: list[int] = []
        self.market_of: list[tuple[str, ...]] = []
        self.from_of: list[int] = []
        self.until_of: list[int] = []
        self.on_air: list[int] = []
        self._ending: list[tuple[int, int]] = []
        self._alive_tracks: list[int] = []

    def open_day(self, day: int) -> list[Change]:
        """Apply the additions and removals of a day.

        Args:
            day: Number of the day, from 0, each once and in order.

        Returns:
            Changes in order of time.
        """
        midnight = self.settings.start_at + day * DAY_MS
        dice = Dice(self.settings.seed, "stock", day)
        changes = self._found(dice, midnight) if day == 0 else []
        changes += self._daily(dice, day, midnight)
        # After the additions: a stream may start and end on one day.
        changes += self._removals(midnight)
        self._plan_removals(dice, midnight)
        changes.sort(key=lambda change: change.at)
        return changes

    def _found(self, dice: Dice, midnight: int) -> list[Change]:
        """Create the initial groups with their back catalogue."""
        sizes: tuple[tuple[Kind, int, int], ...] = (
            ("track", self.settings.num_artists, self.settings.tracks_per_artist),
            ("episode", self.settings.num_shows, self.settings.episodes_per_show),
            ("audiobook", self.settings.num_books, self.settings.parts_per_book),
        )
        changes: list[Change] = []
        for kind, count, length in sizes:
            for number in range(count):
                group = self._group(dice, kind, number % len(TASTES))
                changes += [
                    self._publish(dice, group, midnight, midnight - back * group.cadence * DAY_MS)
                    for back in range(length, 0, -1)
                ]
        for taste in range(len(TASTES)):
            self._group(dice, "live", taste)
        return changes

    def _daily(self, dice: Dice, day: int, midnight: int) -> list[Change]:
        changes: list[Change] = []
        settings = self.settings
        for _ in range(max(1, settings.num_artists // 8)):
            at = midnight + 5 * MINUTE_MS
            newcomer = dice.chance(80)
            taste = dice.below(len(TASTES))
            shelf = self.shelves["track"][taste]
            group = self._group(dice, "track", taste) if newcomer or not shelf else shelf[dice.skewed(len(shelf))]
            changes.append(self._publish(dice, group, at, at))
        for shelf in self.shelves["episode"]:
            for group in shelf:
                if (day + group.index) % group.cadence == 0:
                    at = midnight + (4 + group.index % 3) * HOUR_MS
                    changes.append(self._publish(dice, group, at, at))
        if day % 4 == 2:
            at = midnight + 3 * HOUR_MS
            taste = dice.below(len(TASTES))
            changes.append(self._publish(dice, self._group(dice, "episode", taste), at, at))
            book = self._group(dice, "audiobook", dice.below(len(TASTES)))
            changes += [self._publish(dice, book, at, at) for _ in range(settings.parts_per_book)]
        self.on_air = [item for item in self.on_air if self.until_of[item] > midnight]
        for number in range(settings.num_live):
            at = midnight + (8 + (number * 5 + day) % 14) * HOUR_MS
            changes.append(self._publish(dice, self.shelves["live"][(number * 7 + day) % len(TASTES)][0], at, at))
        return changes

    def _removals(self, midnight: int) -> list[Change]:
        due = sorted(entry for entry in self._ending if entry[0] < midnight + DAY_MS)
        self._ending = [entry for entry in self._ending if entry[0] >= midnight + DAY_MS]
        return [Change(at, self.ids[item], None) for at, item in due]

    def _plan_removals(self, dice: Dice, midnight: int) -> None:
        """Choose a day in advance which tracks lose their licence, so that no item is played after its removal."""
        tracks = self._alive_tracks
        for _ in range(len(tracks) // 400 + 1):
            place = dice.below(len(tracks))
            # An artist keeps one track: no listener may have a favourite artist without playable tracks.
            if len(tracks) > 1 and sum(map(self.stays, self.group_of[tracks[place]].items)) > 1:
                item = tracks[place]
                tracks[place] = tracks[-1]
                tracks.pop()
                self.until_of[item] = midnight + DAY_MS + 2 * HOUR_MS
                self._ending.append((self.until_of[item], item))

    def stays(self, item: int) -> bool:
        """Return whether no end of an item is known."""
        return self.until_of[item] == FOREVER

    def _group(self, dice: Dice, kind: Kind, taste: int) -> Group:
        name, host = group_name(dice, kind, taste, len(self.groups))
        group = Group(len(self.groups), kind, taste, name, host, dice.pick(CADENCES))
        self.groups.append(group)
        self.shelves[kind][taste].append(group)
        return group

    def _publish(self, dice: Dice, group: Group, at: int, published_at: int) -> Change:
        number, place = len(self.ids), len(group.items)
        item_id = f"syn-{group.kind}-{number:06d}"
        market = (dice.pick(MARKETS),) if dice.chance(40) else ()
        mood = dice.below(4)
        facts = {"item_id": item_id, "at": at, "published_at": published_at, "market": market}
        if group.kind == "track":
            item = track_item(dice, group.name, group.taste, mood, facts)
            self._alive_tracks.append(number)
        elif group.kind == "episode":
            item = episode_item(dice, group.name, group.host, group.taste, place + 1, facts)
        elif group.kind == "audiobook":
            item = book_item(dice, group.name, group.host, group.taste, place + 1, facts)
        else:
            item = live_item(dice, group.name, group.taste, facts)
        until = item.expires_at or FOREVER
        if item.expires_at is not None:
            self.on_air.append(number)
            self._ending.append((until + HOUR_MS, number))
        group.items.append(number)
        self.ids.append(item_id)
        self.group_of.append(group)
        self.place_of.append(place)
        self.duration_of.append(item.duration_ms or HOUR_MS)
        self.mood_of.append(mood)
        self.market_of.append(market)
        self.from_of.append(at)
        self.until_of.append(until)
        return Change(at, item_id, item)
