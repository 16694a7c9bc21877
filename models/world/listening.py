"""Simulation of one listener's session: what is played next, for how long, and with which signal.

The rules, from strong to weak: continue what just played (the next part, the next track, a similar artist), play new
episodes of followed shows, continue the audiobook, play a live stream, return to favourites, discover.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sidestream.models.records import Discovery, Signal
from sidestream.models.records.signals import is_positive
from sidestream.models.world.dice import Dice
from sidestream.models.world.people import KINDS, Listener
from sidestream.models.world.stock import FOREVER, HOUR_MS, MINUTE_MS, Group, Stock
from sidestream.models.world.words import MOODS_BY_PART

# No item is started that expires before the longest session could end.
MARGIN_MS = 5 * HOUR_MS
MAX_SESSION_MS = 3 * HOUR_MS
TRIES = 6


class Heard(NamedTuple):
    """One listen of a session."""

    item: int
    at: int
    listened_ms: int
    signal: Signal
    surface: str
    new: bool
    """Whether the listener had never heard the item before."""


class Session:
    """Plays one session.

    Args:
        stock: The catalogue.
        listener: The listener; heard items, progress and favourites are updated.
        dice: Random stream.
        mode: Discovery mode of the session.
    """

    def __init__(self, stock: Stock, listener: Listener, dice: Dice, mode: Discovery) -> None:
        self._stock = stock
        self._listener = listener
        self._dice = dice
        self._mode = mode
        self._strange: set[int] = set()

    def play(self, start_at: int) -> Iterator[Heard]:
        """Play the session.

        Args:
            start_at: Start time.

        Yields:
            Listens in order of time.
        """
        dice, now, last = self._dice, start_at, -1
        for _ in range(3 + dice.below(5) + dice.below(6)):
            if now - start_at > MAX_SESSION_MS:
                break
            item, surface = self._choose(now, last)
            if item < 0:
                continue
            heard = self._listen(item, now, surface)
            yield heard
            now = heard.at + dice.between(2, 45) * 1_000
            last = item if is_positive(heard.signal) else -1
        self._listener.busy_until = now

    def _choose(self, now: int, last: int) -> tuple[int, str]:
        dice = self._dice
        part = _part_of_day(now)
        if last >= 0 and (item := self._follow(now, last)) >= 0:
            return item, "autoplay"
        if self._mode != "unfamiliar" and dice.chance(600 if part == 1 else 350) and (item := self._inbox(now)) >= 0:
            return item, "library"
        kind = KINDS[dice.weighted(self._listener.mixes[part])]
        if kind == "live":
            return self._live(now), "home"
        favourites = self._listener.favourites[kind]
        wanted = {"any": 600, "familiar": 1_000, "unfamiliar": 0}[self._mode]
        if favourites and dice.chance(wanted):
            return self._from_group(dice.pick(favourites), now, part), "library"
        for _ in range(TRIES):
            shelf = self._stock.shelves[kind][self._listener.taste(dice)]
            if not shelf:
                continue
            group = shelf[dice.skewed(len(shelf))]
            if self._mode == "unfamiliar" and group.index in self._listener.progress:
                continue
            self._strange.add(group.index)
            return self._from_group(group, now, part), "home"
        return -1, ""

    def _follow(self, now: int, last: int) -> int:
        """Return the continuation of the item that just played; -1 for none."""
        group, place = self._stock.group_of[last], self._stock.place_of[last]
        throw = self._dice.below(1_000)
        if group.kind == "live":
            return -1
        if group.kind != "track":
            if throw < (650 if group.kind == "audiobook" else 350) and place + 1 < len(group.items):
                return self._playable(group.items[place + 1], now)
            return -1
        if throw < 450:
            return self._playable(group.items[(place + 1) % len(group.items)], now)
        if throw < 650 and self._mode != "familiar":
            shelf = self._stock.shelves["track"][group.taste]
            neighbour = shelf[(shelf.index(group) + 1) % len(shelf)]
            self._strange.add(neighbour.index)
            return self._playable(neighbour.items[0], now) if neighbour.items else -1
        return -1

    def _inbox(self, now: int) -> int:
        """Return the newest unheard episode of a followed show, or the next part of a book."""
        for kind in ("episode", "audiobook"):
            groups = self._listener.favourites[kind]
            if not groups:
                continue
            group = self._dice.pick(groups)
            place = self._listener.progress.get(group.index, -1) + 1
            wanted = group.items[-1] if kind == "episode" else group.items[min(place, len(group.items) - 1)]
            if wanted not in self._listener.heard:
                return self._playable(wanted, now)
        return -1

    def _from_group(self, group: Group, now: int, part: int) -> int:
        dice, items = self._dice, group.items
        if not items:
            return -1
        place = self._listener.progress.get(group.index, -1)
        if group.kind != "track":
            if place + 1 < len(items):
                # A new listener tries the newest episode, but starts a book at its beginning.
                newest = group.kind == "episode" and place < 0 and dice.chance(700)
                return self._playable(items[-1] if newest else items[place + 1], now)
            return self._playable(items[dice.below(len(items))], now) if dice.chance(150) else -1
        if place >= 0 and dice.chance(450):
            return self._playable(items[(place + 1) % len(items)], now)
        for _ in range(3):
            item = items[dice.skewed(len(items))]
            if self._stock.mood_of[item] in MOODS_BY_PART[part]:
                break
        return self._playable(item, now)

    def _live(self, now: int) -> int:
        """Return a live stream of one of the listener's tastes, occasionally of any."""
        own, curious = self._listener.tastes, self._dice.chance(250)
        for item in self._stock.on_air:
            fits = curious or self._stock.group_of[item].taste in own
            if fits and self._playable(item, now) >= 0:
                return item
        return -1

    def _playable(self, item: int, now: int) -> int:
        stock = self._stock
        until = stock.until_of[item]
        if stock.group_of[item].kind == "live":
            gone = until <= now + 2 * MINUTE_MS
        else:
            gone = until != FOREVER and until <= now + MARGIN_MS
        market = stock.market_of[item]
        if gone or stock.from_of[item] > now or (market and self._listener.market_code not in market):
            return -1
        return item

    def _listen(self, item: int, now: int, surface: str) -> Heard:
        dice, listener, stock = self._dice, self._listener, self._stock
        group, duration = stock.group_of[item], stock.duration_of[item]
        signal: Signal = "listen"
        share = dice.between(930, 1_000) if dice.chance(720) else dice.between(150, 930)
        throw = dice.below(1_000)
        if throw < 50:
            signal, share = "skip", dice.between(5, 100)
        elif share >= 930 and group.index in self._strange and throw < 350:
            if listener.adopt(group):
                signal = "follow" if group.kind in ("episode", "live") else "save"
        elif throw < 110:
            signal = "like"
        elif throw > 996:
            signal, share = "dislike", dice.between(10, 200)
        listened_ms = duration * share // 1_000
        if group.kind == "live":
            # A stream cannot be heard beyond its end.
            listened_ms = min(listened_ms // 3, stock.until_of[item] - now - MINUTE_MS)
        new = item not in listener.heard
        listener.heard.add(item)
        place = stock.place_of[item]
        listener.progress[group.index] = max(place, listener.progress.get(group.index, -1))
        return Heard(item, now + listened_ms, listened_ms, signal, surface, new)


def _part_of_day(now: int) -> int:
    hour = now // HOUR_MS % 24
    if hour < 6 or hour >= 23:
        return 0
    return 1 if hour < 11 else 2 if hour < 17 else 3
