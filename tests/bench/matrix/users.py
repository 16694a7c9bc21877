"""What the log makes of users: the pure fold of their listens and erasures, into all keys that are theirs.

A user's state depends on the order of listens and erasures, which come from two topics; any order is right. The one
that a worker took is read from the changelog: the first state that knows an erasure tells by the state before it how
many listens came first. Nothing else is taken from there: an erasure that was asked for and never shows is expected all
the same, one that shows and was not asked for is not.
"""

from collections import defaultdict
from collections.abc import Sequence

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import SidLookup, block_key, erase_all, fold
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.history.layout import NO_ERASURE, NO_WATERMARK, decode
from sidestream.streams.listens.settings import LaneSettings

HISTORY_EVENTS = LaneSettings().history_events


class Users:
    """All users of one log.

    Attributes:
        entries: What every key must hold.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
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

    def fold(
        self, user: bytes, listens: Sequence[tuple[int, ListenRow]], erased_ats: Sequence[int], lookup: SidLookup
    ) -> None:
        """Fold what came of a user since the last time; all of it is in the changelog by now.

        Args:
            user: Key.
            listens: Source offsets and listens, in order.
            erased_ats: Times of the requests to erase the user.
            lookup: Item key to SID.
        """
        done = 0
        for last_offset, at in self._shown.pop(user, ()):
            if at in erased_ats:
                before = [listen for listen in listens[done:] if listen[0] <= last_offset]
                self._listen(user, before, lookup)
                self._erase(user, at)
                done += len(before)
        self._listen(user, listens[done:], lookup)
        if erased_ats:  # nothing happens where it is done already
            self._erase(user, max(erased_ats))

    def _listen(self, user: bytes, listens: Sequence[tuple[int, ListenRow]], lookup: SidLookup) -> None:
        if listens:
            result = fold(self.entries.get(user), listens, lookup, HISTORY_EVENTS)
            self._keep(user, result.state, result.blocks)

    def _erase(self, user: bytes, at: int) -> None:
        erasure = erase_all(self.entries.get(user), self._blocks[user], at)
        self._keep(user, erasure.state, erasure.blocks)

    def _keep(self, user: bytes, state: bytes, blocks: "dict[int, bytes | None]") -> None:
        self.entries[user] = state
        for slot, block in blocks.items():
            if block is None:
                del self._blocks[user][slot], self.entries[block_key(user, slot)]
            else:
                self._blocks[user][slot] = self.entries[block_key(user, slot)] = block
