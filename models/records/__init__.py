"""The values of the topics as pydantic models: what is on the wire, in log folders and in tests.

Evolution is additive: unknown fields are ignored, new fields are optional, and a breaking change requires a new
topic version (`listen-events.v2`). Times are UTC epoch milliseconds and end in `_at` or are called `at`.
"""

from sidestream.models.records.base import Record
from sidestream.models.records.candidates import Candidate, CandidateSet, Fallback
from sidestream.models.records.catalog import CatalogItem, ItemSids, Kind, Segment, TokenizedItem
from sidestream.models.records.erasure import UserErasure
from sidestream.models.records.generations import Generation, GenerationReport
from sidestream.models.records.listen import Listen, Signal
from sidestream.models.records.live import ListenerMean, LiveListeners, LiveSegment
from sidestream.models.records.session import Discovery, SessionStart

__all__ = [
    "Record",
    "Listen",
    "Signal",
    "CatalogItem",
    "Kind",
    "Segment",
    "ItemSids",
    "TokenizedItem",
    "SessionStart",
    "Discovery",
    "CandidateSet",
    "Candidate",
    "Fallback",
    "UserErasure",
    "LiveSegment",
    "LiveListeners",
    "ListenerMean",
    "Generation",
    "GenerationReport",
]
