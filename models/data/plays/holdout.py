"""Held-out plays of a listener: the rules `last`, `session` and `time`, as pure functions.

A target is a play with a positive signal: an item that was skipped or disliked is not a correct answer. Everything
after the test target, and the rest of a held-out session, is omitted from the log: it would leak the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sidestream.models.data.manifest import Split
from sidestream.models.data.plays.play import Play
from sidestream.models.records.signals import is_positive

SplitRule = Literal["none", "last", "session", "time"]

MINUTE_MS = 60_000
# The test target, a validation target before it, and a training play before that.
MIN_PLAYS = 3


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How plays are held out.

    Attributes:
        rule: The rule.
        gap_ms: A pause longer than this ends a session.
        valid_from: Rule `time`: start of the validation targets; None: such that `valid_share` of the plays are between
            it and `test_from`.
        test_from: Rule `time`: start of the test targets; None: such that `test_share` of the plays are after it.
        valid_share: See `valid_from`.
        test_share: See `test_from`.
    """

    rule: SplitRule = "last"
    gap_ms: int = 30 * MINUTE_MS
    valid_from: int | None = None
    test_from: int | None = None
    valid_share: float = 0.1
    test_share: float = 0.1


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out plays of a listener.

    Attributes:
        kept: Plays before this index are in the log.
        test: Index of the test target, at or after `kept`; None for none.
        valid: Index of the validation target, before `kept`; None for none.
    """

    kept: int
    test: int | None = None
    valid: int | None = None


def hold_out(plays: Sequence[Play], begins: Sequence[int], options: SplitOptions, cuts: dict[str, int]) -> HeldOut:
    """Choose the held-out plays of one listener.

    Args:
        plays: All plays, oldest first.
        begins: Index of the first play of each session.
        options: The rule.
        cuts: Rule `time`: `valid_from` and `test_from`.

    Returns:
        The choice; everything is kept if the listener has too few plays for the rule.
    """
    if options.rule == "last":
        return _last(plays)
    if options.rule == "session":
        return _session(plays, begins)
    if options.rule == "time":
        return _time(plays, cuts["valid_from"], cuts["test_from"])
    return HeldOut(len(plays))


def split_statement(options: SplitOptions) -> Split:
    """Return the manifest's entry for a rule."""
    minutes = f"{options.gap_ms / MINUTE_MS:g}"
    wanted = "Targets are plays with a positive signal (no skip, no dislike)."
    if options.rule == "last":
        return Split(
            protocol="leave_one_out",
            statement="Per listener with three plays or more the last is the test (heldout.jsonl alone, "
            "a session-start before it), the one before it validation (in listens.jsonl too), the rest training. "
            f"{wanted}",
        )
    if options.rule == "session":
        return Split(
            protocol="last_session",
            statement="Per listener with two sessions or more the test is the first item of the last session that was "
            "new to the listener (else the last one played), in heldout.jsonl alone, after that session's start; the "
            "rest of that session is left out. Validation is the last item before it that was new (in listens.jsonl "
            f"too); training is everything before. A pause of more than {minutes} minutes ends a session. {wanted}",
        )
    if options.rule == "time":
        return Split(
            protocol="global_time",
            statement="Training is everything before the cut valid_from. Per listener the test is the first play at or "
            "after the cut test_from (heldout.jsonl alone, a session-start before it; later plays are left out), "
            f"validation the first one between the cuts (in listens.jsonl too). {wanted}",
        )
    return Split(protocol="none", statement="Nothing is held out.")


def session_begins(plays: Sequence[Play], gap_ms: int) -> list[int]:
    """Find the starts of a listener's sessions.

    Args:
        plays: All plays, oldest first.
        gap_ms: A pause longer than this ends a session; sessions given by the source take precedence.

    Returns:
        Index of the first play of each session.
    """
    begins: list[int] = []
    ended_at = 0
    for index, play in enumerate(plays):
        before = plays[index - 1] if index else None
        if before is None:
            begins.append(index)
        elif play.session_id is not None and before.session_id is not None:
            if play.session_id != before.session_id:
                begins.append(index)
        elif play.started_at - ended_at > gap_ms:
            begins.append(index)
        ended_at = max(ended_at, play.ended_at)
    return begins


def _last(plays: Sequence[Play]) -> HeldOut:
    if len(plays) < MIN_PLAYS:
        return HeldOut(len(plays))
    wanted = [index for index, play in enumerate(plays) if is_positive(play.signal)]
    if len(wanted) < 2 or wanted[-2] == 0:
        return HeldOut(len(plays))
    return HeldOut(kept=wanted[-1], test=wanted[-1], valid=wanted[-2])


def _session(plays: Sequence[Play], begins: Sequence[int]) -> HeldOut:
    if len(begins) < 2:
        return HeldOut(len(plays))
    kept = begins[-1]
    wanted = [index for index in range(kept, len(plays)) if is_positive(plays[index].signal)]
    if not wanted:
        return HeldOut(len(plays))
    known = {play.item for play in plays[:kept]}
    test = next((index for index in wanted if plays[index].item not in known), wanted[-1])
    heard: set[str] = set()
    valid: int | None = None
    for index, play in enumerate(plays[:kept]):
        if index and play.item not in heard and is_positive(play.signal):
            valid = index
        heard.add(play.item)
    return HeldOut(kept, test, valid)


def _time(plays: Sequence[Play], valid_from: int, test_from: int) -> HeldOut:
    kept = next((index for index, play in enumerate(plays) if play.at >= test_from), len(plays))
    test = next((index for index in range(kept, len(plays)) if is_positive(plays[index].signal)), None)
    valid = next(
        (index for index in range(kept) if plays[index].at >= valid_from and is_positive(plays[index].signal)), None
    )
    return HeldOut(kept, test, valid)
