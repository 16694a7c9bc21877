"""Start a session for a listener and print the candidates that come back."""

import sys
import time
import uuid

from sidestream.models.records import SessionStart
from sidestream.streams.client import SidestreamClient


def main(client: SidestreamClient, user_id: str = "ada", timeout_s: float = 10.0) -> None:
    """Ask, wait, print."""
    now = time.time_ns() // 1_000_000
    start = SessionStart(session_id=str(uuid.uuid4()), user_id=user_id, at=now, surface="home", num_candidates=10)
    answer = client.request_candidates(start, timeout_s)
    if answer.fallback is not None:
        print(f"not from the model: {answer.fallback.reason}")
    for candidate in answer.candidates:
        print(f"{candidate.rank:3d}  {candidate.item_id:20s} {candidate.sid:12s} {candidate.score:8.3f}")


if __name__ == "__main__":
    with SidestreamClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092") as sidestream:
        main(sidestream)
