"""Listeners of the synthetic world: drifting tastes, habits, and heard items."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidestream.models.records import Kind
from sidestream.models.world.dice import Dice
from sidestream.models.world.settings import WorldSettings
from sidestream.models.world.stock import Group, Stock
from sidestream.models.world.words import LOCALES, MARKETS, TASTES

KINDS: tuple[Kind, ...] = ("track", "episode", "audiobook", "live")
# Weights of the kinds: all-rounder, music lover, podcast lover, reader.
TYPES = ((40, 35, 12, 13), (80, 8, 2, 10), (18, 66, 6, 10), (20, 20, 55, 5))
# Effect of the hour on them: night, morning, day, evening.
PARTS = ((3, 1, 5, 1), (2, 5, 1, 1), (5, 3, 1, 2), (3, 3, 2, 4))
DEVICES = ("phone", "phone", "phone", "desktop", "speaker", "car")
MAX_FAVOURITES = 8


@dataclass(slots=True)
class Listener:
    """One listener.

    Attributes:
        number: Number of the listener.
        tastes: Main, second and temporary taste, indices into `TASTES`.
        mixes: Cumulative sums of kind weights by part of the day.
        hours: The two hours at which sessions usually start.
        activity: Chance per day of a session, per mille.
        joined: First day.
        market: Index into `MARKETS`.
        device: Usual device.
        favourites: Groups by kind, newest last.
        heard: Item numbers.
        progress: Highest position heard by group number.
        busy_until: End of the last session.
    """

    number: int
    tastes: list[int]
    mixes: tuple[tuple[int, ...], ...]
    hours: tuple[int, int]
    activity: int
    joined: int
    market: int
    device: str
    favourites: dict[Kind, list[Group]]
    heard: set[int] = field(default_factory=set)
    progress: dict[int, int] = field(default_factory=dict)
    busy_until: int = 0

    @property
    def user_id(self) -> str:
        """Id in all topics."""
        return f"listener-{self.number:06d}"

    @property
    def locale(self) -> str:
        """Language and country."""
        return LOCALES[self.market]

    @property
    def market_code(self) -> str:
        """Country."""
        return MARKETS[self.market]

    def taste(self, dice: Dice) -> int:
        """Draw a taste: mostly the main one, occasionally any."""
        throw = dice.below(20)
        if throw < 14:
            return self.tastes[0]
        if throw < 19:
            return self.tastes[1]
        return dice.skewed(len(TASTES))

    def drift(self, dice: Dice) -> None:
        """Replace the main taste: mostly by a neighbour of the old one, so that drift has a direction."""
        new = (self.tastes[0] + dice.pick((1, 1, 1, len(TASTES) - 1))) % len(TASTES)
        self.tastes = [new if dice.chance(750) else dice.below(len(TASTES)), self.tastes[0]]
        for groups in self.favourites.values():
            del groups[: len(groups) // 2]

    def adopt(self, group: Group) -> bool:
        """Add a group to the favourites, dropping the oldest if there are too many.

        Args:
            group: An artist, a show, a book or a channel.

        Returns:
            Whether it is a new favourite.
        """
        groups = self.favourites[group.kind]
        if group in groups:
            return False
        groups.append(group)
        del groups[:-MAX_FAVOURITES]
        return True


def make_listeners(settings: WorldSettings, stock: Stock) -> list[Listener]:
    """Create all listeners with their initial habits.

    Args:
        settings: Sizes and seed.
        stock: The catalogue on its first day.

    Returns:
        Listeners by number.
    """
    dice = Dice(settings.seed, "people")
    return [_listener(dice, settings, stock, number) for number in range(settings.listeners)]


def _listener(dice: Dice, settings: WorldSettings, stock: Stock, number: int) -> Listener:
    # The smaller of two draws: some tastes are common, some rare.
    main = min(dice.below(len(TASTES)), dice.below(len(TASTES)))
    second = (main + dice.pick((1, 1, 3, 5))) % len(TASTES)
    weights = dice.pick(TYPES)
    early = dice.chance(800)
    listener = Listener(
        number=number,
        tastes=[main, second],
        mixes=tuple(_running(weight * factor for weight, factor in zip(weights, part, strict=True)) for part in PARTS),
        hours=(dice.between(6, 10), dice.between(15, 23)),
        activity=dice.between(150, 340) + dice.below(350),
        joined=0 if early else dice.below(max(1, settings.days * 2 // 3)),
        market=dice.skewed(len(MARKETS)),
        device=dice.pick(DEVICES),
        favourites={kind: [] for kind in KINDS},
    )
    wanted: tuple[tuple[Kind, int], ...] = (("track", dice.between(2, 4)), ("episode", dice.between(1, 3)))
    for kind, count in wanted:
        for _ in range(count):
            shelf = stock.shelves[kind][listener.taste(dice)]
            if shelf:
                listener.adopt(shelf[dice.skewed(len(shelf))])
    return listener


def _running(weights: Iterable[int]) -> tuple[int, ...]:
    total = 0
    sums: list[int] = []
    for weight in weights:
        total += weight
        sums.append(total)
    return tuple(sums)
