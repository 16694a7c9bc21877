"""The session lane: session-starts in, candidate sets out, several in flight, committed by their longest prefix."""

from streams.sessions.answerer import Answerer
from streams.sessions.lane import SessionLane
from streams.sessions.prefix import OffsetPrefix
from streams.sessions.settings import SessionSettings

__all__ = ["Answerer", "OffsetPrefix", "SessionLane", "SessionSettings"]
