"""Plug in a ranker of your own: read every candidate set once, order it your way, use it."""

from sidestream.models.records import Candidate, CandidateSet
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.connecting import run


def rank(found: CandidateSet) -> list[Candidate]:
    """Your model goes here; this one puts what the listener does not know yet first."""
    return sorted(found.candidates, key=lambda candidate: (candidate.familiar, -candidate.score))


def main(client: SidestreamClient, timeout_s: float = 60.0) -> None:
    """Rank what comes within the time; several processes with one group id share the work."""
    titles = {item_id: item.title or item_id for item_id, item in client.read_catalogue().items()}
    with client.consume_candidates("my-ranker", from_start=True) as answers:
        for found in answers.within(timeout_s):
            first = [titles.get(candidate.item_id, candidate.item_id) for candidate in rank(found)[:3]]
            # Sets from before the first items are empty.
            if first:
                print(f"{found.user_id}: {'; '.join(first)}")


if __name__ == "__main__":
    run(main)
