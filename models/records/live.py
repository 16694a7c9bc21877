"""`live-segments.v1` and `live-listeners.v1`, keyed by `item_id`: what a live item says now, and who listens to it."""

from pydantic import Field

from sidestream.models.records.base import AtMs, Id, Record
from sidestream.models.records.catalog import Segment
from sidestream.models.records.times import EventAt


class LiveSegment(Segment, Record):
    """A stretch of a live stream, sent when it is over; times count from the start of the stream."""

    item_id: Id
    at: EventAt = Field(description="When it was over. Epoch milliseconds UTC.")


class ListenerMean(Record):
    """The mean vector of some listeners under one tokenizer version."""

    vector: str = Field(description="Mean of the listeners' vectors: base64 of int8 components.")
    vector_scale: float = Field(ge=0, le=1e6, description="Component = int8 * vector_scale.")
    weight: float = Field(ge=0, le=1e12, description="How many listens it stands for, decayed to `at`.")


class LiveListeners(Record):
    """What one partition of the listens knows of the listeners of one live item; replaces what it said before."""

    item_id: Id
    at: AtMs = Field(description="Time of the newest listen counted. Epoch milliseconds UTC.")
    partition: int = Field(ge=0, description="Of the listens.")
    since: int = Field(ge=0, description="Source offset of the first listen counted: another one is another sum.")
    offset: int = Field(
        ge=0, description="Source offset of the last listen counted; the highest of a sum is the newest."
    )
    means: dict[str, ListenerMean] = Field(description="By tokenizer version.")
