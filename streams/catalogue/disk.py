"""Local copy of the catalogue on disk, from which a worker starts, so that it reads only the tail of `item-sids.v1`.

A folder contains the frozen catalogue and its origin: tokenizer and model, the topic by its id, and the next offset of
each partition. It is a cache: a copy that is damaged, of another origin or too old is ignored with a log line, and the
whole topic is read instead.

Too old: all later changes must still be in the topic, and a compacted topic keeps a tombstone only for
`delete.retention.ms`. Every record after the offsets was written after `reached_at`: a folder is valid for that long
from then on.

Source: Kafka documentation, topic configuration `delete.retention.ms`: a reader that starts over must reach the end
within that time, or may miss deletes.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.streams.contracts.topics import KAFKA_DELETE_RETENTION_MS, TopicState
from sidestream.streams.errors import ArtifactError, CatalogueError
from sidestream.streams.runtime.clock import Clock
from sidestream.streams.runtime.logs.log import get_log
from sidestream.tokenizer.catalogue.files import read_frozen, write_frozen
from sidestream.tokenizer.catalogue.frozen import Frozen
from sidestream.tokenizer.folders import remove_leftovers

_log = get_log(__name__)

# Tolerated clock error.
_MARGIN_MS = 3_600_000


class SavedOrigin(BaseModel):
    """Origin of a saved catalogue, stored in the manifest of its folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokenizer_version: str = Field(description="Tokenizer of the SIDs.")
    model_version: str = Field(description="Model of the item vectors.")
    topic: str = Field(description="Name of the topic.")
    topic_id: str = Field(description="Topic id; it differs after the topic was recreated.")
    positions: tuple[int, ...] = Field(description="Next offset of each partition.")
    reached_at: int = Field(description="UTC epoch ms; every record after the positions was written later.")


class LocalCatalogue:
    """Saved catalogues of one tokenizer and model.

    Args:
        folder: Parent folder; created when something is saved.
        tokenizer_version: The tokenizer that is served.
        model_version: The model that is served.
        clock: Wall clock, UTC epoch ms, which retention is based on.
    """

    def __init__(self, folder: Path, tokenizer_version: str, model_version: str, clock: Clock) -> None:
        self._all = folder
        self._folder = folder / f"{tokenizer_version}-{model_version}"
        self._versions = (tokenizer_version, model_version)
        self._clock = clock

    def save(
        self,
        frozen: Frozen,
        topic: str,
        topic_id: str,
        positions: Sequence[int],
        reached_at: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Write a folder and remove the older ones.

        Args:
            frozen: The catalogue.
            topic: Name of the topic.
            topic_id: Topic id.
            positions: Next offset of each partition: everything before it was applied.
            reached_at: UTC epoch ms at which the topic contained no more than that.
            should_stop: Called periodically; True aborts.

        Returns:
            Whether the folder was written; disk errors are logged.
        """
        tokenizer_version, model_version = self._versions
        origin = SavedOrigin(
            tokenizer_version=tokenizer_version,
            model_version=model_version,
            topic=topic,
            topic_id=topic_id,
            positions=tuple(positions),
            reached_at=reached_at,
        )
        before = self._folders()
        number = 1 + max((int(path.name) for path in before), default=0)
        try:
            if not write_frozen(self._folder / f"{number:08d}", frozen, origin.model_dump(mode="json"), should_stop):
                return False
        except (OSError, ArtifactError) as error:
            _log.warning("local catalogue not saved", folder=str(self._folder), reason=repr(error))
            return False
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        self._remove_stale()
        _log.info("catalogue saved on this disk", rows=frozen.num_rows, folder=str(self._folder))
        return True

    def load(
        self, topic: str, state: TopicState, bounds: Mapping[int, tuple[int, int]], accept: Callable[[Frozen], None]
    ) -> SavedOrigin | None:
        """Find a folder to start from, the newest first.

        Args:
            topic: Name of the topic.
            state: Its state in Kafka.
            bounds: Current first and next offset of each partition.
            accept: Receives the catalogue; raises `CatalogueError` if it does not fit.

        Returns:
            Origin of the loaded folder; None if no folder is usable.
        """
        for path in reversed(self._folders()):
            try:
                frozen, facts = read_frozen(path)
                origin = SavedOrigin.model_validate(facts)
                reason = self._mismatch(origin, topic, state, bounds)
                if reason is None:
                    accept(frozen)
                    return origin
            except (ArtifactError, CatalogueError, ValidationError, OSError) as error:
                reason = " ".join(str(error).split())
            _log.warning("local catalogue ignored; reading the whole topic", folder=str(path), reason=reason)
        return None

    def _mismatch(
        self, origin: SavedOrigin, topic: str, state: TopicState, bounds: Mapping[int, tuple[int, int]]
    ) -> str | None:
        if (origin.tokenizer_version, origin.model_version) != self._versions:
            return (
                f"expected tokenizer and model {self._versions}, got {origin.tokenizer_version, origin.model_version}"
            )
        if origin.topic != topic:
            return f"expected topic {topic}, got {origin.topic}"
        if origin.topic_id != state.topic_id:
            return f"topic recreated: expected topic id {state.topic_id}, got {origin.topic_id}"
        if len(origin.positions) != len(bounds):
            return f"expected {len(bounds)} partitions, got {len(origin.positions)}"
        for partition, position in enumerate(origin.positions):
            first, end = bounds[partition]
            if not first <= position <= end:
                return f"partition {partition}: expected an offset from {first} to {end}, got {position}"
        age_ms, limit_ms = self._clock() - origin.reached_at, state.removals_kept_ms
        if not -_MARGIN_MS <= age_ms < limit_ms:
            return f"expected one of the last {limit_ms} ms (tombstones are kept no longer), got one {age_ms} ms old"
        return None

    def _folders(self) -> list[Path]:
        """List the finished folders, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))

    def _remove_stale(self) -> None:
        """Remove unfinished folders, and versions that were last saved too long ago to be usable."""
        remove_leftovers(self._folder)
        # Name of unfinished folders in earlier releases.
        for path in self._folder.glob("*.partial"):
            shutil.rmtree(path, ignore_errors=True)
        limit_s = (self._clock() - 7 * KAFKA_DELETE_RETENTION_MS) / 1e3
        for path in self._all.iterdir():
            if path != self._folder and path.stat().st_mtime < limit_s:
                shutil.rmtree(path, ignore_errors=True)
