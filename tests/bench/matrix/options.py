"""How the workers of a cell are set up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidestream.streams.kafka.clients import KafkaSettings
from tests.bench.matrix.load import Rates

PRODUCTION_SESSION_MS = int(KafkaSettings.model_fields["session_timeout_ms"].default)
# Of the listens, by cell.
CODECS = ("lz4", "zstd", None, "snappy")


class StepError(Exception):
    """A worker did not do what it had to within its time."""


@dataclass(frozen=True)
class CellOptions:
    """How the workers of a cell are set up; popularity is at its defaults everywhere.

    Attributes:
        session_ms: Session timeout of the workers; none for all defaults of a production set-up.
        guarantee: Of the listen lane.
        codec: Compression of the listens.
        broken: Broken build, or none.
        standbys: Whether the workers keep copies of each other's tables, and wait for them before they take over.
        rates: Of the load.
    """

    session_ms: int | None = 2_000
    guarantee: str = "exactly_once"
    codec: str | None = None
    broken: str | None = None
    standbys: bool = False
    rates: Rates = field(default_factory=Rates)

    @property
    def session_s(self) -> float:
        """The session timeout in seconds."""
        return (self.session_ms or PRODUCTION_SESSION_MS) / 1e3

    @property
    def flags(self) -> Mapping[str, Any]:
        """Settings by dotted name."""
        if self.session_ms is None:
            return {"lane.guarantee": self.guarantee}
        return {
            "kafka.session_timeout_ms": self.session_ms,
            "kafka.heartbeat_interval_ms": max(100, self.session_ms // 6),
            "lane.guarantee": self.guarantee,
            "lane.batch_ms": 50,
            "lane.commit_interval_ms": 100,
            "lane.rebalance_timeout_ms": 10_000,
        }
