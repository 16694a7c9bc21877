"""Builds whose answers are broken on purpose."""

from typing import Any

from sidestream.models.records import CandidateSet
from sidestream.streams.sessions.answerer import Answerer
from sidestream.streams.sessions.prefix import OffsetPrefix


def session_committed_early() -> None:
    """Let a session-start be committed as soon as its answer is begun."""
    begin, done = OffsetPrefix.begin, OffsetPrefix.done

    def begin_and_end(self: OffsetPrefix, offset: int) -> None:
        begin(self, offset)
        done(self, offset)

    OffsetPrefix.begin = begin_and_end  # type: ignore[method-assign]
    OffsetPrefix.done = lambda self, offset: None  # type: ignore[method-assign]


def answers_to_another() -> None:
    """Answer somebody else, without candidates."""
    answer = Answerer.answer

    async def answer_another(self: Answerer, *args: Any, **options: Any) -> CandidateSet:
        found = await answer(self, *args, **options)
        return found.model_copy(update={"user_id": "somebody-else", "candidates": ()})

    Answerer.answer = answer_another  # type: ignore[method-assign]
