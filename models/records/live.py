"""`live-segments.v1` and `live-listeners.v1`, keyed by `item_id`: segments and listeners of live items."""

from pydantic import Field

from sidestream.models.records.base import AtMs, Id, Record
from sidestream.models.records.catalog import Segment
from sidestream.models.records.times import EventAt


class LiveSegment(Segment, Record):
    """A segment of a live stream, sent when it has ended; times count from the start of the stream."""

    item_id: Id
    at: EventAt = Field(description="When it ended. Epoch milliseconds UTC.")


class ListenerMean(Record):
    """The mean vector of some listeners under one tokenizer version."""

    vector: str = Field(description="Mean of the listeners' vectors: base64 of int8 components.")
    vector_scale: float = Field(ge=0, le=1e6, description="Component = int8 * vector_scale.")
    weight: float = Field(ge=0, le=1e12, description="Number of listens in the mean, decayed to `at`.")


class LiveListeners(Record):
    """The listeners of one live item in one partition of the listens; replaces the previous value."""

    item_id: Id
    at: AtMs = Field(description="Time of the newest listen counted. Epoch milliseconds UTC.")
    partition: int = Field(ge=0, description="Partition of the listens.")
    since: int = Field(ge=0, description="Source offset of the first listen counted; identifies the sum.")
    offset: int = Field(
        ge=0, description="Source offset of the last listen counted; the highest of a sum is the newest."
    )
    means: dict[str, ListenerMean] = Field(description="Means by tokenizer version.")
