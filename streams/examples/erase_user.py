"""Erase a listener: all that happened so far is forgotten, and the next session is answered as a stranger's."""

import time
import uuid

from sidestream.models.records import CandidateSet, SessionStart
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.connecting import run


def main(client: SidestreamClient, user_id: str = "ada", timeout_s: float = 30.0) -> None:
    """Ask for the erasure, and start sessions until the worker no longer knows the listener."""
    client.erase_user(user_id)
    client.flush()
    print(f"{user_id}: erasure requested")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_stranger(session(client, user_id)):
            print(f"{user_id} is a stranger now: nothing is left that a recommendation could be made from")
            return
    print("not erased yet; a worker that is ready does it within a second")


def session(client: SidestreamClient, user_id: str) -> CandidateSet:
    """Start a session and wait for its candidates."""
    start = SessionStart(session_id=str(uuid.uuid4()), user_id=user_id, at=time.time_ns() // 1_000_000)
    return client.request_candidates(start)


def is_stranger(answer: CandidateSet) -> bool:
    """Tell whether an answer was made without any history."""
    return answer.fallback is not None and answer.fallback.reason == "no_history"


if __name__ == "__main__":
    run(main)
