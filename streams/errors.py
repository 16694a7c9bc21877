"""All errors that Sidestream raises deliberately, in one tree.

* SidestreamError
  x ArtifactError            artifact missing, damaged or wrongly paired
  x TokenizerError           vectors, texts or SIDs do not fit the tokenizer
  x CatalogueError           item update or snapshot is invalid
  x DataError                log folder or data set is damaged (file and line)
  x StateError               bytes of a user state cannot be decoded
  x TrainingError            training or export cannot continue
  x EngineError              the ONNX engine rejected a request or a catalogue
  x SettingsError            a setting is wrong or missing
  x MissingPackage           a package that a command needs is not installed
  x BrokerError              the local broker cannot be started, reached or stopped
    + AccessError            a broker answers, but its certificate or our credentials are not accepted
    + NotAcknowledged        a producer's records were not acknowledged in time, or its sender ended
  x TopicError               topics missing, wrong partition counts, not compacted
  x GenerationError          a tokenizer version cannot be rolled out, rolled back or retired
  x LaneError                a lane cannot continue without risking the state
    + LaneFenced             another worker owns the partition by now; the broker fenced this one
    + LaneInterrupted        Kafka did not answer as needed; the partition is opened again in the same process
    + RestoreError           a table cannot be rebuilt from its changelog
    + TableDamaged           the files of a table are damaged; the next start rebuilds it
  x BadRecord                a malformed record (sent to the dead letters, never stops a stream)
"""

from sidestream.models.errors import DataError, EngineError, StateError, TrainingError
from sidestream.tokenizer.errors import ArtifactError, CatalogueError, SidestreamError, TokenizerError

__all__ = [
    "SidestreamError",
    "ArtifactError",
    "TokenizerError",
    "CatalogueError",
    "DataError",
    "StateError",
    "TrainingError",
    "EngineError",
    "SettingsError",
    "MissingPackage",
    "BrokerError",
    "AccessError",
    "NotAcknowledged",
    "TopicError",
    "GenerationError",
    "LaneError",
    "LaneFenced",
    "LaneInterrupted",
    "RestoreError",
    "TableDamaged",
    "BadRecord",
]


class SettingsError(SidestreamError):
    """A setting is wrong or missing.

    Operator action: the message names the flag and the environment variable.
    """


class MissingPackage(SidestreamError):
    """A package that a command needs is not installed: of an extra, or one that is missing from the environment.

    Operator action: run the `pip install` that the message names.
    """


class BrokerError(SidestreamError):
    """The local broker cannot be started, reached or stopped.

    Operator action: `sidestream broker status`, then the log file named in the message.
    """


class AccessError(BrokerError):
    """A broker answers, but its certificate is not trusted, or it rejects our credentials; retrying does not help.

    Operator action: correct the settings under `kafka.security`, or the user on the broker.
    """


class NotAcknowledged(BrokerError):
    """A producer's records were not acknowledged in time, or its sender ended; whether they are written is unknown.

    Operator action: none while brokers restart, the worker replaces the producer; else check that the brokers are up.
    """


class TopicError(SidestreamError):
    """Topics are missing, have wrong partition counts, or are not compacted where they must be.

    Operator action: `sidestream topics check`, then `sidestream topics create` or the change it names.
    """


class GenerationError(SidestreamError):
    """A tokenizer version cannot be rolled out, rolled back or retired; the current version continues to serve.

    Operator action: the message names the worker or order that prevents it; see `sidestream tokenizer generations`.
    """


class LaneError(SidestreamError):
    """A lane cannot continue without risking the state.

    Operator action: restart the worker; it restores from the changelog.
    """


class LaneFenced(LaneError):
    """The broker fenced this worker's transactions: another worker owns the partition, or a transaction timed out.

    Operator action: restart the worker. If it happens often, increase `lane.transaction_timeout_ms`, or find out what
    pauses the process.
    """


class LaneInterrupted(LaneError):
    """Kafka did not answer as needed, or what it did is not known; the lane opens the partition again by itself.

    Operator action: none while it lasts a few seconds; otherwise check the broker that the message names.
    """


class RestoreError(LaneError):
    """A table cannot be rebuilt from its changelog.

    Operator action: `sidestream topics check`; if the changelog is gone, rebuild from the source topic.
    """


class TableDamaged(LaneError):
    """The files of a table are damaged: RocksDB detected it while opening, reading or writing.

    Operator action: restart the worker, it rebuilds the table from the changelog; if it recurs, test the disk.
    """


class BadRecord(SidestreamError):
    """A malformed record: it is sent to the dead letters with this reason, and the stream continues.

    Args:
        reason: Short code for counters and headers: not_json, wrong_type, missing_field, bad_value, key_mismatch,
            absurd_time, oversize, null_value, wrong_partition, unreadable.
        detail: Expected and actual content, in one line.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")
