"""Start a session for a listener and print the candidates that come back, with their titles."""

import time
import uuid

from sidestream.models.records import SessionStart
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.connecting import run


def main(client: SidestreamClient, user_id: str = "ada", timeout_s: float = 10.0) -> None:
    """Ask, wait, print."""
    now = time.time_ns() // 1_000_000
    start = SessionStart(session_id=str(uuid.uuid4()), user_id=user_id, at=now, surface="home", num_candidates=10)
    answer = client.request_candidates(start, timeout_s)
    catalogue = client.read_catalogue()
    if answer.fallback is not None:
        print(f"not from the model: {answer.fallback.reason}")
    for candidate in answer.candidates:
        item = catalogue.get(candidate.item_id)
        title = item.title if item and item.title else candidate.item_id
        by = (item.show or item.creator or "") if item else ""
        print(f"{candidate.rank:3d}  {title:34.34s}  {by:20.20s}  {candidate.score:7.3f}")


if __name__ == "__main__":
    run(main)
