"""Plug in a ranker of your own: read every candidate set once, order it anew, use it."""

import sys

from sidestream.models.records import Candidate, CandidateSet
from sidestream.streams.client import SidestreamClient


def rank(found: CandidateSet) -> list[Candidate]:
    """Your model goes here; this one puts what the listener does not know yet first."""
    return sorted(found.candidates, key=lambda candidate: (candidate.familiar, -candidate.score))


def main(client: SidestreamClient, timeout_s: float = 60.0) -> None:
    """Rank what comes within the time; several processes with one group id share the work."""
    with client.consume_candidates("my-ranker", from_start=True) as answers:
        for found in answers.within(timeout_s):
            print(found.user_id, [candidate.item_id for candidate in rank(found)])


if __name__ == "__main__":
    with SidestreamClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092") as sidestream:
        main(sidestream)
