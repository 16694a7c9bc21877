"""What the log makes of users: the pure fold of their listens and erasures, into all keys that are theirs.

A user's state depends on the order of listens and erasures, which come from two topics; any order is right. The one
that a worker took is read from the changelog: the first state that knows an erasure tells by the state before it how
many listens came first. Nothing else is taken from there: an erasure that was asked for and never shows is expected all
the same, one that shows and was not asked for is not.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import SidLookup, block_key, erase_all, fold
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.history.layout import NO_ERASURE, NO_WATERMARK, decode
from sidestream.streams.listens.settings import LaneSettings

HISTORY_EVENTS = LaneSettings().history_events

Listens = Sequence[tuple[int, ListenRow]]
Blocks = Mapping[int, bytes]


@dataclass
class Turns:
    """What happened to one user since the last comparison.

    Attributes:
        state: Before it; none for an unknown user.
        blocks: Before it, by slot.
        steps: Listens that came together, and times of erasures, in the order of the changelog.
        erased_ats: Times of all requests to erase the user, in any order.
    """

    state: bytes | None
    blocks: dict[int, bytes]
    steps: list[Listens | int] = field(default_factory=list)
    erased_ats: frozenset[int] = frozenset()

    def states(self, watermark: int, lookup: SidLookup) -> Iterator[bytes | None]:
        """Give the states whose last listen has this offset: those of the changelog's order first.

        An answer may use a batch that a crash then undoes: what is durable at any time, then one erasure, then listens.
        So where there are erasures, such states follow.
        """
        state, blocks = self.state, self.blocks
        if _watermark(state) == watermark:
            yield state
        for step in self.steps:
            left: Listens = ()
            if isinstance(step, int):
                state, blocks = erased(state, blocks, step)
            else:
                heard = [listen for listen in step if listen[0] <= watermark]
                left = step[len(heard) :]
                state, blocks = folded(state, blocks, heard, lookup)
            if _watermark(state) == watermark:
                yield state
            if left:
                break
        if self.erased_ats:
            yield from self._undone(watermark, lookup)

    def _undone(self, watermark: int, lookup: SidLookup) -> Iterator[bytes | None]:
        listens = [listen for step in self.steps if not isinstance(step, int) for listen in step]
        listens = [listen for listen in listens if listen[0] <= watermark]
        for state, blocks in reversed(list(self._durable(watermark, lookup))):
            left = [listen for listen in listens if listen[0] > _watermark(state)]
            for at in (None, *sorted(self.erased_ats)):
                begun, then = (state, blocks) if at is None else erased(state, blocks, at)
                undone, _ = folded(begun, then, left, lookup)
                if _watermark(undone) == watermark:
                    yield undone

    def _durable(self, watermark: int, lookup: SidLookup) -> Iterator[tuple[bytes | None, dict[int, bytes]]]:
        """Give what may have been durable at some time, up to a watermark."""
        state, blocks = self.state, self.blocks
        yield state, blocks
        for step in self.steps:
            if isinstance(step, int):
                state, blocks = erased(state, blocks, step)
                yield state, blocks
                continue
            for listen in step:
                if listen[0] > watermark:
                    return
                state, blocks = folded(state, blocks, [listen], lookup)
                yield state, blocks


class Users:
    """All users of one log.

    Attributes:
        entries: What every key must hold.
        turns: What happened since `begin`, by user.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.turns: dict[bytes, Turns] = {}
        self._blocks: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        # Of the changelog's last state: source offset of its last listen, and time of its last erasure.
        self._marks: dict[bytes, tuple[int, int]] = {}
        self._shown: dict[bytes, list[tuple[int, int]]] = defaultdict(list)

    def see(self, key: bytes, value: bytes | None) -> None:
        """Look at a record of the changelog, in its order: does it show that an erasure was applied?"""
        if key.startswith(KEY_MARK) or value is None:
            return
        parts = decode(value)
        last_offset, erased_at = self._marks.get(key, (NO_WATERMARK, NO_ERASURE))
        if parts.erased_at > erased_at:
            self._shown[key].append((last_offset, parts.erased_at))
        self._marks[key] = (parts.watermark, parts.erased_at)

    def begin(self) -> None:
        """Forget the turns: everything before is compared."""
        self.turns.clear()

    def turns_of(self, user: bytes) -> Turns:
        """Give the turns of a user, also of one to whom nothing happened."""
        return self.turns.get(user) or Turns(self.entries.get(user), dict(self._blocks.get(user, {})))

    def fold(self, user: bytes, listens: Listens, erased_ats: Sequence[int], lookup: SidLookup) -> None:
        """Fold what came of a user since the last time; all of it is in the changelog by now.

        Args:
            user: Key.
            listens: Source offsets and listens, in order.
            erased_ats: Times of the requests to erase the user.
            lookup: Item key to SID.
        """
        turns = self.turns[user] = Turns(
            self.entries.get(user), dict(self._blocks.get(user, {})), erased_ats=frozenset(erased_ats)
        )
        done = 0
        for last_offset, at in self._shown.pop(user, ()):
            if at in erased_ats:
                before = [listen for listen in listens[done:] if listen[0] <= last_offset]
                turns.steps += [before, at]
                done += len(before)
        turns.steps.append(listens[done:])
        if erased_ats:  # nothing happens where it is done already
            turns.steps.append(max(erased_ats))
        for step in turns.steps:
            state, blocks = self.entries.get(user), self._blocks[user]
            if isinstance(step, int):
                self._keep(user, *erased(state, blocks, step))
            elif step:
                self._keep(user, *folded(state, blocks, step, lookup))

    def _keep(self, user: bytes, state: bytes | None, blocks: dict[int, bytes]) -> None:
        if state is not None:
            self.entries[user] = state
        for slot in self._blocks[user].keys() - blocks.keys():
            del self.entries[block_key(user, slot)]
        self._blocks[user] = blocks
        self.entries.update((block_key(user, slot), block) for slot, block in blocks.items())


def folded(
    state: bytes | None, blocks: Blocks, listens: Listens, lookup: SidLookup
) -> tuple[bytes | None, dict[int, bytes]]:
    """Fold listens into a user's state and blocks."""
    if not listens:
        return state, dict(blocks)
    result = fold(state, listens, lookup, HISTORY_EVENTS)
    return result.state, _changed(blocks, result.blocks)


def erased(state: bytes | None, blocks: Blocks, at: int) -> tuple[bytes, dict[int, bytes]]:
    """Erase what a user heard up to a time."""
    erasure = erase_all(state, blocks, at)
    return erasure.state, _changed(blocks, erasure.blocks)


def _changed(blocks: Blocks, changes: Mapping[int, bytes | None]) -> dict[int, bytes]:
    merged = {**blocks, **changes}
    return {slot: block for slot, block in merged.items() if block is not None}


def _watermark(state: bytes | None) -> int:
    return NO_WATERMARK if state is None else decode(state).watermark
