"""`sidestream dlq replay --dry-run` says what would be replayed; programs get the names they always got."""

import json
from collections import Counter

import pytest

from sidestream.streams.cli.records import deadletters
from sidestream.streams.operate.deadletters import ReplayReport


class FoundOne:
    def __init__(self, *args):
        pass

    def preview(self, selection):
        return ReplayReport(replayed=Counter({"listen-events.v1": 1}))

    async def replay(self, selection):
        return self.preview(selection)


@pytest.fixture
def replay(sidestream, monkeypatch):
    monkeypatch.setattr(deadletters, "Replayer", FoundOne)
    monkeypatch.setattr(deadletters, "_open", lambda ctx: (None, None))

    def run(*args):
        return sidestream("dlq", "replay", "--everything", *args).out

    return run


def facts_of(out):
    return dict(words for line in out.splitlines() if len(words := line.split(maxsplit=1)) == 2)


def test_a_preview_says_what_would_be_replayed(replay):
    facts = facts_of(replay("--dry-run", "--no-json"))
    assert facts["would_replay"] == "1"
    assert "replayed" not in facts
    assert facts["skipped"] == "-", "nothing to show is shown as such"
    assert facts_of(replay("--no-json"))["replayed"] == "1"


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_programs_get_the_same_names_for_both(replay, more):
    facts = json.loads(replay(*more, "--json"))
    assert (facts["replayed"], facts["skipped"], facts["dry_run"]) == (1, {}, bool(more))
