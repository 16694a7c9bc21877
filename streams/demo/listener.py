"""One listener for people to look at: asked again once the worker has folded all that the demo sent of them."""

import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sidestream.models.records import CandidateSet, SessionStart

POLL_S = 0.05
MAX_TRIES = 5


class Pages(Protocol):
    """The worker's pages."""

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and body."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A listener's state and the answer that was made from it.

    Attributes:
        state: As the worker describes it; empty where it has none.
        start: What was asked.
        answer: What came.
        behind: The state does not hold all that was sent of the listener.
    """

    state: Mapping[str, Any]
    start: SessionStart
    answer: CandidateSet
    behind: bool


def ask_with_state(
    start: SessionStart,
    last_offset: int,
    pages: Pages,
    ask: Callable[[SessionStart], CandidateSet],
    quiet_s: float,
    seconds: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen:
    """Wait for the state to hold a listener's listens, then ask for candidates.

    Args:
        start: Whom to ask for, and what; its session id gets a number.
        last_offset: Of the last listen sent of the listener, -1 for none.
        pages: Where the state is read.
        ask: Publishes a session-start and waits for its candidates.
        quiet_s: Give up after so long in which the state has not moved.
        seconds: Monotonic clock.
        sleep: Waits for so many seconds.

    Returns:
        State and answer. An answer that a busy machine made by popularity is asked for again, a few times.
    """
    path = f"/v1/users/{urllib.parse.quote(start.user_id, safe='')}/state"
    state = _wait_for(path, last_offset, pages, quiet_s, seconds, sleep)
    for number in range(MAX_TRIES):
        asked = start.model_copy(update={"session_id": f"{start.session_id}-{number}"})
        answer = ask(asked)
        if answer.fallback is None or answer.fallback.reason not in ("overload", "deadline"):
            break
    return Seen(state, asked, answer, min(_watermark(state), answer.state_watermark) < last_offset)


def _wait_for(
    path: str,
    last_offset: int,
    pages: Pages,
    quiet_s: float,
    seconds: Callable[[], float],
    sleep: Callable[[float], None],
) -> Mapping[str, Any]:
    reached, deadline = -2, 0.0
    while True:
        status, body = pages.get(path)
        state: Mapping[str, Any] = body if status == 200 and isinstance(body, dict) else {}
        watermark = _watermark(state)
        if watermark > reached:
            reached, deadline = watermark, seconds() + quiet_s
        if watermark >= last_offset or seconds() > deadline:
            return state
        sleep(POLL_S)


def _watermark(state: Mapping[str, Any]) -> int:
    found = state.get("watermarks", {}).get("listens")
    return -1 if found is None else int(found)
