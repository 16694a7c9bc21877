"""Simulation of the synthetic world, day by day, into a log folder; one day of events is held in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sidestream.models.data.manifest import Clock, Manifest, Split
from sidestream.models.data.rows import HeldOutRow, ListenRow, Role
from sidestream.models.data.writer import FolderFacts, LogFolderWriter
from sidestream.models.records import Discovery, SessionStart
from sidestream.models.records.signals import is_positive
from sidestream.models.world.dice import Dice
from sidestream.models.world.listening import Heard, Session
from sidestream.models.world.people import Listener, make_listeners
from sidestream.models.world.settings import WorldSettings
from sidestream.models.world.stock import DAY_MS, HOUR_MS, MINUTE_MS, Stock

# Two in ten active days have a second session.
SECOND_SESSION_PERMILLE = 200
MODES: tuple[Discovery, ...] = ("any",) * 7 + ("familiar", "unfamiliar", "unfamiliar")

Progress = Callable[[int, int], None]
Timed = TypeVar("Timed", ListenRow, SessionStart)


def generate_world(
    target: Path | str,
    settings: WorldSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Generate a log folder from the synthetic world.

    Args:
        target: The log folder to create.
        settings: Sizes and seed.
        overwrite: Whether to replace a log folder at `target`.
        progress: Called with (days done, days) after each day.

    Returns:
        The manifest of the new folder.

    Raises:
        DataError: `target` exists and may not be replaced.
    """
    chosen = settings or WorldSettings()
    with LogFolderWriter(target, overwrite=overwrite) as writer:
        world = _World(chosen, writer)
        for day in range(chosen.days):
            world.run(day)
            if progress is not None:
                progress(day + 1, chosen.days)
        world.close()
        return writer.finish(_facts(chosen))


class _World:
    """The simulation of days: catalogue changes and sessions, and the rows written for them."""

    def __init__(self, settings: WorldSettings, writer: LogFolderWriter) -> None:
        self._settings = settings
        self._writer = writer
        self._stock = Stock(settings)
        self._first_day = self._stock.open_day(0)
        self._listeners = make_listeners(settings, self._stock)
        self._plan = _plan_sessions(settings, self._listeners)
        # Column of the last active day; it is not used for listeners without any.
        self._last_day = settings.days - 1 - np.argmax(self._plan[:, ::-1] > 0, axis=1)
        self._listens: list[ListenRow] = []
        self._sessions: list[SessionStart] = []
        self._test: list[HeldOutRow] = []
        self._newest: dict[int, ListenRow] = {}
        self._session_number = 0
        self._event_number = 0

    def run(self, day: int) -> None:
        """Simulate one day and write everything that happened before the next one."""
        for change in self._first_day if day == 0 else self._stock.open_day(day):
            if change.item is None:
                self._writer.removal(change.item_id, change.at)
            else:
                self._writer.item(change.item)
        dice = Dice(self._settings.seed, "day", day)
        for number in np.flatnonzero(self._plan[:, day]).tolist():
            self._live(dice, day, self._listeners[number], int(self._plan[number, day]))
        self._write_before(self._settings.start_at + (day + 1) * DAY_MS)

    def close(self) -> None:
        """Write the rest: sessions that ran past the last midnight, and the held-out listens."""
        self._write_before(1 << 62)
        valid = [_held_out(row, "valid") for row in self._newest.values()]
        for row in sorted([*valid, *self._test], key=lambda row: (row.at, row.event_id)):
            self._writer.heldout(row)

    def _live(self, dice: Dice, day: int, listener: Listener, sessions: int) -> None:
        midnight = self._settings.start_at + day * DAY_MS
        hours = listener.hours if sessions > 1 else (dice.pick(listener.hours),)
        for index, hour in enumerate(hours):
            last = day == self._last_day[listener.number] and index == len(hours) - 1
            start_at = midnight + hour * HOUR_MS + dice.below(90) * MINUTE_MS + dice.below(60_000)
            start_at = max(start_at, listener.busy_until + MINUTE_MS)
            if dice.chance(self._settings.drift_permille):
                listener.drift(dice)
            self._session(dice, listener, start_at, last=last)

    def _session(self, dice: Dice, listener: Listener, start_at: int, *, last: bool) -> None:
        mode = dice.pick(MODES)
        asks = dice.chance(self._settings.session_start_permille) or last
        self._session_number += 1
        session_id = f"syn-session-{self._session_number:07d}"
        if asks:
            self._sessions.append(
                SessionStart(
                    session_id=session_id,
                    user_id=listener.user_id,
                    at=start_at,
                    surface="home",
                    device=listener.device,
                    locale=listener.locale,
                    market=listener.market_code,
                    discovery=mode,
                )
            )
        heard = list(Session(self._stock, listener, dice, mode).play(start_at))
        rows = [self._row(listener, session_id, listen) for listen in heard]
        if last:
            # The rest of the last session is omitted: the target is the listener's last known listen.
            liked = [(row, listen.new) for row, listen in zip(rows, heard, strict=True) if is_positive(listen.signal)]
            new = [row for row, is_new in liked if is_new]
            self._test += [_held_out(row, "test") for row in (new or [row for row, _ in liked[-1:]])[:1]]
            return
        for row, listen in zip(rows, heard, strict=True):
            if listen.new and is_positive(listen.signal):
                self._newest[listener.number] = row
        self._listens += rows

    def _row(self, listener: Listener, session_id: str, heard: Heard) -> ListenRow:
        self._event_number += 1
        return ListenRow(
            event_id=f"syn-event-{self._event_number:09d}",
            user_id=listener.user_id,
            item_id=self._stock.ids[heard.item],
            at=heard.at,
            listened_ms=heard.listened_ms,
            duration_ms=self._stock.duration_of[heard.item],
            signal=heard.signal,
            surface=heard.surface,
            device=listener.device,
            session_id=session_id,
        )

    def _write_before(self, limit: int) -> None:
        self._listens.sort(key=lambda row: (row.at, row.event_id))
        self._sessions.sort(key=lambda start: (start.at, start.session_id))
        for row in _take_before(self._listens, limit):
            self._writer.listen(row)
        for start in _take_before(self._sessions, limit):
            self._writer.session(start)


def _plan_sessions(settings: WorldSettings, listeners: Sequence[Listener]) -> NDArray[np.uint8]:
    """Plan all sessions in advance, so that each listener's last session is known when it is simulated.

    Args:
        settings: Sizes and seed.
        listeners: All listeners.

    Returns:
        Sessions by listener and day. Shape: (listeners, days).
    """
    dice = Dice(settings.seed, "plan")
    activity = np.array([listener.activity for listener in listeners])
    joined = np.array([listener.joined for listener in listeners])
    active = dice.table(len(listeners), settings.days) < activity[:, None]
    active &= np.arange(settings.days)[None, :] >= joined[:, None]
    second = dice.table(len(listeners), settings.days) < SECOND_SESSION_PERMILLE
    return active.astype(np.uint8) + (active & second)


def _take_before(rows: list[Timed], limit: int) -> list[Timed]:
    count = next((index for index, row in enumerate(rows) if row.at >= limit), len(rows))
    taken = rows[:count]
    del rows[:count]
    return taken


def _held_out(row: ListenRow, role: Role) -> HeldOutRow:
    fields = {name: getattr(row, name) for name in ListenRow.__struct_fields__}
    return HeldOutRow(**fields, role=role)


def _facts(settings: WorldSettings) -> FolderFacts:
    return FolderFacts(
        name="synthetic-audio-world",
        source=f"invented by the world generator, seed {settings.seed}: no real listener, creator or item",
        licence="Apache-2.0",
        events_are="simulated listens",
        clock=Clock(kind="synthetic", statement="Simulated: order and distances follow the simulated listeners' days."),
        split=Split(
            protocol="last_session",
            statement="Per listener the test is the first item of the last session that was new to the listener (else "
            "the last one heard), in heldout.jsonl alone, after that session's start; the rest of that session is left "
            "out. Validation is the last item before it that was new (in listens.jsonl too); training is the rest. "
            "Items that were skipped or disliked are never held out.",
        ),
        notes=("Everything here is synthetic and says so in its ids and descriptions.",),
        settings=settings.model_dump(mode="json"),
    )
