"""Topics to a log folder: what a running system saw, for training and replay, without what erased users had."""

from sidestream.streams.operate.recording.building import Recorded, RecordOptions
from sidestream.streams.operate.recording.run import record_topics

__all__ = ["record_topics", "RecordOptions", "Recorded"]
