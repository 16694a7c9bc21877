"""Check of held-out rows: their references to the other files, and the rules of the split in the manifest."""

from collections.abc import Callable
from dataclasses import dataclass

from sidestream.models.data.log_folder import HELDOUT_FILE, TOPIC_FILES
from sidestream.models.data.manifest import Manifest
from sidestream.models.data.rows import HeldOutRow, ListenRow, Role
from sidestream.models.records import SessionStart
from sidestream.models.records.signals import is_positive

_LISTENS, _SESSIONS = TOPIC_FILES["listens"], TOPIC_FILES["sessions"]


@dataclass(slots=True)
class _Held:
    """One held-out row, and what the other files have of it.

    Attributes:
        line: Its line.
        row: The row.
        last_at: `at` of the listener's last listen; -1 without listens.
        is_repeated: Whether the listens have it.
        is_followed: Whether a listen with a positive signal follows it.
        is_requested: Whether a session-start requests it.
        started_at: `at` of a session-start with its session id.
    """

    line: int
    row: HeldOutRow
    last_at: int = -1
    is_repeated: bool = False
    is_followed: bool = False
    is_requested: bool = False
    started_at: int | None = None


class HeldOutCheck:
    """Compares held-out rows with listens and session-starts; takes all rows of the one, then of the others.

    Args:
        report: Called with each problem: path inside the folder, line, and what was expected and found.
    """

    def __init__(self, report: Callable[[str, int | None, str], None]) -> None:
        self._report_in = report
        self._held: dict[Role, dict[str, _Held]] = {"test": {}, "valid": {}}

    def num(self, role: Role) -> int:
        """Return the number of listeners with a row of the role."""
        return len(self._held[role])

    def heldout(self, line: int, row: HeldOutRow) -> None:
        """Take a held-out row."""
        if not is_positive(row.signal):
            what = f"expected a positive signal of a held-out listen, got {row.signal}, for which no listener is asked"
            self._report(line, what)
            return
        before = self._held[row.role].setdefault(row.user_id, _Held(line, row))
        if before.line != line:
            self._report(
                line,
                f"expected one {row.role} row of {row.user_id!r}, got a second one (the first is line {before.line})",
            )

    def listen(self, line: int, row: ListenRow) -> None:
        """Take a listen, after all held-out rows."""
        test, valid = self._held["test"].get(row.user_id), self._held["valid"].get(row.user_id)
        if test is not None:
            test.last_at = row.at
            what = None
            if row.event_id == test.row.event_id:
                what = f"expected test events in {HELDOUT_FILE} alone, got {row.event_id!r} of its line {test.line}"
            elif row.at > test.row.at:
                what = (
                    f"expected no listen of {row.user_id!r} after the test row at {test.row.at} "
                    f"({HELDOUT_FILE}:{test.line}), got one at {row.at}; remove what follows a test row"
                )
            if what is not None:
                self._report_in(_LISTENS, line, what)
        if valid is None:
            return
        if row.event_id == valid.row.event_id:
            valid.is_repeated = True
            if row != valid.row.listen:
                what = f"expected the same fields as in {_LISTENS}:{line}, got others for {row.event_id!r}"
                self._report(valid.line, what)
        elif valid.is_repeated and is_positive(row.signal):
            valid.is_followed = True

    def session(self, start: SessionStart) -> None:
        """Take a session-start, after all listens."""
        test = self._held["test"].get(start.user_id)
        if test is not None and start.session_id == test.row.session_id:
            test.started_at = start.at
            test.is_requested |= test.last_at <= start.at <= test.row.at

    def finish(self) -> None:
        """Report references that were not found, after all rows."""
        for held in self._held["valid"].values():
            if not held.is_repeated:
                what = f"expected that a validation row repeats a line of {_LISTENS}, got none of "
                self._report(held.line, f"{what}{held.row.user_id!r}, {held.row.event_id!r}")
        for held in self._held["test"].values():
            if not held.is_requested:
                self._report(held.line, self._unrequested(held))

    def compare(self, manifest: Manifest) -> None:
        """Compare the rows with the split of the manifest."""
        if manifest.split.protocol == "leave_one_out":
            for held in self._held["valid"].values():
                if held.is_followed:
                    what = f"expected the last play of {held.row.user_id!r} before the test row, got an earlier one"
                    self._report(held.line, f"{what} ({held.row.event_id!r})")
        valid_from, test_from = manifest.cuts.get("valid_from"), manifest.cuts.get("test_from")
        if manifest.split.protocol != "global_time" or valid_from is None or test_from is None:
            return
        for held in self._held["valid"].values():
            if not valid_from <= held.row.at < test_from:
                what = f"expected a validation row between the cuts {valid_from} and {test_from}, got one at "
                self._report(held.line, f"{what}{held.row.at}")
        for held in self._held["test"].values():
            if held.row.at < test_from:
                what = f"expected a test row at or after cuts.test_from {test_from}, got one at {held.row.at}"
                self._report(held.line, what)

    def _unrequested(self, held: _Held) -> str:
        row = held.row
        if row.session_id is None:
            return f"expected the session_id of a session-start in {_SESSIONS}, got none"
        what = f"expected session {row.session_id!r} of {row.user_id!r} in {_SESSIONS}"
        if held.started_at is None:
            return f"{what}, got none"
        first = "" if held.last_at < 0 else f"from their last listen at {held.last_at} "
        return f"{what} {first}to the test row at {row.at}, got it at {held.started_at}"

    def _report(self, line: int, what: str) -> None:
        self._report_in(HELDOUT_FILE, line, what)
