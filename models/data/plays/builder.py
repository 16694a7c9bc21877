"""Conversion of plays in any order to the rows of a log folder in total order, in bounded memory.

Plays are sorted by listener and time on disk; each listener's plays are divided into sessions and held-out plays; the
resulting rows are sorted by time, again on disk, and written. Memory holds two sort buffers, one listener's plays, the
items and some 100 bytes per listener.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

import msgspec

from sidestream.models.data.plays.damage import RowReport
from sidestream.models.data.plays.holdout import HeldOut, SplitOptions, hold_out, session_begins
from sidestream.models.data.plays.play import Play
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.rows import HeldOutRow, ListenRow, Role, encode_row
from sidestream.models.data.sorting import ExternalSort, number_key, text_key
from sidestream.models.data.writer import LogFolderWriter
from sidestream.models.errors import DataError
from sidestream.models.records import SessionStart
from sidestream.models.records.base import MAX_ID_CHARS
from sidestream.models.records.times import EARLIEST_EVENT_AT, describe_at

# Time from a session-start to the first play of its session.
SESSION_LEAD_MS = 1_000
# Cut times are determined to the minute, so that no memory per play is needed.
CUT_STEP_MS = 60_000

_PLAY, _START = b"\0", b"\1"
_decode_play = msgspec.msgpack.Decoder(Play).decode
_encode_play = msgspec.msgpack.Encoder().encode
_decode_listen = msgspec.json.Decoder(ListenRow).decode
_decode_heldout = msgspec.json.Decoder(HeldOutRow).decode
_LISTENS, _SESSIONS, _HELDOUT = b"\1", b"\2", b"\3"


class FolderBuilder:
    """Converts plays to listens, session-starts and held-out rows of one log folder.

    Args:
        writer: Receives the rows; its scratch folder is used for sorting.
        options: How plays are held out.
        report: Counts omitted rows.
        memory_bytes: Memory for both sorts together.
        derive_sessions: Whether to create a session-start for each session; else only those added with `add_start` are
            written, and one is created for a test target without any.
    """

    def __init__(
        self,
        writer: LogFolderWriter,
        options: SplitOptions,
        report: RowReport,
        memory_bytes: int,
        *,
        derive_sessions: bool = True,
    ) -> None:
        self._writer = writer
        self._options = options
        self._report = report
        self._derive_sessions = derive_sessions
        self._by_listener = ExternalSort(writer.scratch, memory_bytes // 2)
        self._by_time = ExternalSort(writer.scratch, memory_bytes // 2)
        self._added = 0
        self._plays_at: Counter[int] = Counter()
        self._first_at: int | None = None
        self._last_at = 0
        self._item_id: Callable[[str], str | None] = lambda item: item
        # Only of ids that are not ASCII.
        self._normal_ids: dict[str, str] = {}
        self.cuts: dict[str, int] = {}

    @property
    def first_at(self) -> int:
        """A time at or before everything that was added, UTC epoch ms: when the catalogue may be published."""
        return max(EARLIEST_EVENT_AT, (self._first_at or 0) - SESSION_LEAD_MS)

    @property
    def num_plays(self) -> int:
        """Number of plays added."""
        return self._plays_at.total()

    def add(self, play: Play) -> None:
        """Add a play, in any order; plays of one listener at one time keep the order in which they are added."""
        earliest = min(play.started_at, play.at)
        self._first_at = earliest if self._first_at is None else min(earliest, self._first_at)
        self._last_at = max(play.at, self._last_at)
        self._plays_at[play.at // CUT_STEP_MS] += 1
        self._add(play.user_id, play.at, _PLAY + _encode_play(play))

    def add_start(self, start: SessionStart) -> None:
        """Add an actual session-start, in any order."""
        self._first_at = start.at if self._first_at is None else min(start.at, self._first_at)
        self._add(start.user_id, start.at, _START + start.to_json())

    def build(self, item_id: Callable[[str], str | None], on_progress: Progress = ignore_progress) -> None:
        """Write listens, session-starts and held-out rows.

        Args:
            item_id: Gives the id of `Play.item`; None leaves the play out.
            on_progress: Called with the progress.

        Raises:
            DataError: The cuts of rule `time` leave no plays for training, or no listener has a test target.
        """
        self._item_id = item_id
        self.cuts = self._find_cuts() if self._options.rule == "time" else {}
        number = tests = 0
        for user_id, plays, starts in self._listeners(on_progress):
            for at, row in self._rows_of(user_id, plays, starts):
                self._by_time.add(number_key(at) + row[:1] + number_key(number), row)
                number += 1
                tests += row[:1] == _HELDOUT and b'"role":"test"' in row
        if not tests and self._options.rule != "none":
            msg = (
                f"split {self._options.rule}: expected a listener with something to hold out, got none among "
                f"{self.num_plays:,} plays; choose another split (none keeps all)"
            )
            raise DataError(msg)
        for _, row in counted(self._by_time, "write rows", number, on_progress):
            if row[:1] == _LISTENS:
                self._writer.listen(_decode_listen(row[1:]))
            elif row[:1] == _SESSIONS:
                self._writer.session(SessionStart.from_json(row[1:]))
            else:
                self._writer.heldout(_decode_heldout(row[1:]))

    def _add(self, user_id: str, at: int, row: bytes) -> None:
        # Listens come before session-starts of the same time, as in the log.
        self._by_listener.add(text_key(user_id) + number_key(at) + row[:1] + number_key(self._added), row)
        self._added += 1

    def _listeners(self, on_progress: Progress) -> Iterator[tuple[str, list[Play], list[SessionStart]]]:
        sorted_rows = counted(self._by_listener, "split", self._added, on_progress)
        rows = ((key[: -len(_PLAY) - 16], row) for key, row in sorted_rows)
        for _, group in groupby(rows, key=itemgetter(0)):
            plays: list[Play] = []
            # Producers may send a session-start again: the first counts, as with its answers.
            starts: dict[tuple[str, int], SessionStart] = {}
            num_starts = 0
            for _, row in group:
                if row[:1] == _PLAY:
                    plays.append(_decode_play(row[1:]))
                else:
                    start = SessionStart.from_json(row[1:])
                    starts.setdefault((start.session_id, start.page), start)
                    num_starts += 1
            self._report.leave_out("the same session-start again", num_starts - len(starts))
            user_id = plays[0].user_id if plays else next(iter(starts.values())).user_id
            self._compare(user_id)
            yield user_id, self._known(self._once(plays)), list(starts.values())

    def _compare(self, user_id: str) -> None:
        """Report an id that looks like another; ids are bytes, so they stay two listeners."""
        if user_id.isascii():
            return
        normal = unicodedata.normalize("NFC", user_id)
        if self._normal_ids.setdefault(normal, user_id) != user_id:
            self._report.alike.append(user_id)

    def _once(self, plays: list[Play]) -> list[Play]:
        """Remove duplicates; of plays that differ only in length the longest is kept."""
        by_key: dict[object, int] = {}
        kept: list[Play | None] = []
        repeats: Counter[tuple[int, str, str]] = Counter()
        for play in plays:
            if play.is_day and play.event_id is None:
                same = (play.at, play.item, play.signal)
                repeats[same] += 1
                if repeats[same] > 1:
                    play.event_id = _event_id(play, self._item_id(play.item) or play.item, repeats[same])
            # If the source has event ids, only they count; tags keep keys of several kinds distinct.
            keys: list[object] = (
                [("event", play.event_id)]
                if play.event_id is not None
                else [("play", play.at, play.item, play.signal), *([("twin", play.twin)] if play.twin else [])]
            )
            index = next((by_key[key] for key in keys if key in by_key), None)
            if index is None:
                index = len(kept)
                kept.append(play)
            else:
                self._report.leave_out("the same play again")
                before = kept[index]
                if before is not None and (play.listened_ms or 0) > (before.listened_ms or 0):
                    kept[index] = play
            for key in keys:
                by_key.setdefault(key, index)
        left = [play for play in kept if play is not None]
        left.sort(key=lambda play: play.at)
        return left

    def _known(self, plays: list[Play]) -> list[Play]:
        known: list[Play] = []
        for play in plays:
            item = self._item_id(play.item)
            if item is not None:
                play.item = item
                known.append(play)
        self._report.leave_out("their item is not in the catalogue", len(plays) - len(known))
        return known

    def _rows_of(self, user_id: str, plays: list[Play], starts: list[SessionStart]) -> Iterator[tuple[int, bytes]]:
        begins = session_begins(plays, self._options.gap_ms)
        held = hold_out(plays, begins, self._options, self.cuts)
        self._report.leave_out("plays after what is held out", len(plays) - held.kept - (0 if held.test is None else 1))
        ids = _session_ids(plays, begins)
        if self._derive_sessions:
            starts = [self._start(plays, begin, ids[begin]) for begin in begins if begin < held.kept]
            for begin, end in zip(begins, [*begins[1:], len(plays)], strict=True):
                for play in plays[begin:end]:
                    play.session_id = play.session_id or ids[begin]
        if held.test is not None:
            asked = self._asking(plays, held, ids, starts)
            if asked not in starts:
                starts.append(asked)
            test = plays[held.test]
            test.session_id = asked.session_id
            yield test.at, _HELDOUT + encode_row(_held_out(test, "test"))
        for index, play in enumerate(plays[: held.kept]):
            yield play.at, _LISTENS + encode_row(_listen(play))
            if index == held.valid:
                yield play.at, _HELDOUT + encode_row(_held_out(play, "valid"))
        for start in starts:
            yield start.at, _SESSIONS + start.to_json()

    def _start(self, plays: list[Play], begin: int, session_id: str) -> SessionStart:
        first = plays[begin]
        # Never before the last play of the previous session, which must be in the state that is read.
        after = plays[begin - 1].at if begin else 0
        at = max(EARLIEST_EVENT_AT, after, min(first.started_at, first.at) - SESSION_LEAD_MS)
        return SessionStart(
            session_id=session_id, user_id=first.user_id, at=at, surface=first.surface, device=first.device
        )

    def _asking(
        self, plays: list[Play], held: HeldOut, ids: dict[int, str], starts: list[SessionStart]
    ) -> SessionStart:
        """Return the session-start of the test target: after all kept plays, before the target."""
        test_index = held.test if held.test is not None else len(plays) - 1
        test = plays[test_index]
        after = plays[held.kept - 1].at if held.kept else 0
        if not self._derive_sessions:
            fitting = [start for start in starts if after <= start.at <= test.at]
            if fitting:
                return fitting[-1]
        elif held.kept in ids and not any(held.kept < begin <= test_index for begin in ids):
            return self._start(plays, held.kept, ids[held.kept])
        earliest = max(EARLIEST_EVENT_AT, after, self.cuts.get("test_from", 0))
        at = max(earliest, min(test.started_at, test.at) - SESSION_LEAD_MS)
        session_id = f"{_session_id(test)}-test"
        return SessionStart(session_id=session_id, user_id=test.user_id, at=min(at, test.at), device=test.device)

    def _find_cuts(self) -> dict[str, int]:
        options = self._options
        test_from = options.test_from
        if test_from is None:
            test_from = self._quantile(1 - options.test_share)
        valid_from = options.valid_from
        if valid_from is None:
            behind = sum(count for step, count in self._plays_at.items() if step * CUT_STEP_MS >= test_from)
            share = behind / max(1, self.num_plays)
            valid_from = self._quantile(max(0.0, 1 - share - options.valid_share))
        first = min(self._plays_at, default=0) * CUT_STEP_MS
        cuts = f"valid_from {_moment(valid_from)} and test_from {_moment(test_from)}"
        if options.test_from is not None and test_from > self._last_at:
            msg = (
                f"split time: expected plays at or after test_from, got {cuts}; the last play is at "
                f"{_moment(self._last_at)}; choose an earlier --test-from"
            )
            raise DataError(msg)
        if not first < valid_from <= test_from:
            msg = (
                "split time: expected plays before valid_from and valid_from <= test_from, got "
                f"{cuts}; the first play is at {_moment(first)}; choose other cuts or another split"
            )
            raise DataError(msg)
        return {"valid_from": valid_from, "test_from": test_from}

    def _quantile(self, share: float) -> int:
        """Return the minute before which about this share of the plays is."""
        before, wanted = 0, share * self.num_plays
        for step, count in sorted(self._plays_at.items()):
            if before >= wanted:
                return step * CUT_STEP_MS
            before += count
        return (max(self._plays_at, default=0) + 1) * CUT_STEP_MS


def _listen(play: Play) -> ListenRow:
    return ListenRow(
        event_id=play.event_id or _event_id(play, play.item),
        user_id=play.user_id,
        item_id=play.item,
        at=play.at,
        listened_ms=play.listened_ms,
        duration_ms=play.duration_ms,
        signal=play.signal,
        surface=play.surface,
        device=play.device,
        session_id=play.session_id,
    )


def _event_id(play: Play, item_id: str, repeat: int = 1) -> str:
    """Derive an event id, the same in every import; repeats of a play on one day are numbered."""
    number = (str(repeat),) if repeat > 1 else ()
    return _digest("event", play.user_id, item_id, str(play.at), play.signal, *number)


def _held_out(play: Play, role: Role) -> HeldOutRow:
    row = _listen(play)
    return HeldOutRow(**{name: getattr(row, name) for name in ListenRow.__struct_fields__}, role=role)


def _moment(at: int) -> str:
    return f"{at} ({describe_at(at)} UTC)"


def _session_ids(plays: list[Play], begins: list[int]) -> dict[int, str]:
    """Return the id of each session by its first play; one that the source takes up again later gets another id."""
    ids: dict[int, str] = {}
    taken: set[str] = set()
    for begin in begins:
        ids[begin] = _session_id(plays[begin])
        if ids[begin] in taken:
            ids[begin] = _digest("session", plays[begin].user_id, str(plays[begin].at), str(begin))
        taken.add(ids[begin])
    return ids


def _session_id(first: Play) -> str:
    if first.session_id is not None and len(first.session_id) <= MAX_ID_CHARS - len("-test"):
        return first.session_id
    return _digest("session", first.user_id, str(first.at))


def _digest(kind: str, *parts: str) -> str:
    text = "\0".join(parts).encode()
    return f"{kind}-{hashlib.blake2b(text, digest_size=12).hexdigest()}"
