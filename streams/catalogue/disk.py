"""The catalogue on this machine's disk: what a worker starts from, so that it reads the tail of `item-sids.v1` alone.

A folder holds the frozen catalogue and says what it was made from: tokenizer and model, the topic by its id, and the
offset from which each partition goes on. It is a cache: what is damaged, foreign or too old is told in the log and
left aside, and the whole topic is read instead.

Too old: all changes since must still be in the topic, and a compacted topic keeps a removal for `delete.retention.ms`
only. All that stands behind the offsets was written after `reached_at`: a folder is good for that long from then on.

Source: Kafka documentation, topic configuration `delete.retention.ms`: a reader that starts over must come to the end
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

# A clock may go wrong by so much.
_MARGIN_MS = 3_600_000


class Origin(BaseModel):
    """What a folder was made from: facts of its manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokenizer_version: str = Field(description="Gives the SIDs their meaning.")
    model_version: str = Field(description="Made the item vectors.")
    topic: str = Field(description="Name of the topic.")
    topic_id: str = Field(description="Its id: another one means that it was made anew.")
    positions: tuple[int, ...] = Field(description="From where each partition goes on.")
    reached_at: int = Field(description="UTC epoch ms; all behind the positions was written later.")


class LocalCatalogue:
    """The folders of one tokenizer and model.

    Args:
        folder: Holds all of them; made when something is saved.
        tokenizer_version: The tokenizer that is served.
        model_version: The model that is served.
        clock: UTC epoch ms by the wall: retention goes by it.
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
        """Write a folder and remove those before it.

        Args:
            frozen: The catalogue.
            topic: Name of the topic.
            topic_id: Its id.
            positions: From where each partition goes on: all before it was applied.
            reached_at: UTC epoch ms at which the topic had no more than that.
            should_stop: Asked now and then; True gives up.

        Returns:
            Whether it is there; a disk that refuses is told in the log.
        """
        tokenizer_version, model_version = self._versions
        origin = Origin(
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
        self._forget_others()
        _log.info("catalogue saved on this disk", rows=frozen.num_rows, folder=str(self._folder))
        return True

    def load(
        self, topic: str, state: TopicState, bounds: Mapping[int, tuple[int, int]], accept: Callable[[Frozen], None]
    ) -> Origin | None:
        """Find a folder to start from, the newest first.

        Args:
            topic: Name of the topic.
            state: What Kafka says of it.
            bounds: First and next offset of each partition as they are now.
            accept: Takes the catalogue over; raises `CatalogueError` where it does not fit.

        Returns:
            What it was made from; none where there is no good one.
        """
        for path in reversed(self._folders()):
            try:
                frozen, facts = read_frozen(path)
                origin = Origin.model_validate(facts)
                reason = self._objection(origin, topic, state, bounds)
                if reason is None:
                    accept(frozen)
                    return origin
            except (ArtifactError, CatalogueError, ValidationError, OSError) as error:
                reason = " ".join(str(error).split())
            _log.warning("local catalogue left aside; reading the whole topic", folder=str(path), reason=reason)
        return None

    def _objection(
        self, origin: Origin, topic: str, state: TopicState, bounds: Mapping[int, tuple[int, int]]
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
            return f"expected one of the last {limit_ms} ms (removals are kept no longer), got one {age_ms} ms old"
        return None

    def _folders(self) -> list[Path]:
        """List the finished folders, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))

    def _forget_others(self) -> None:
        """Remove what was begun and never finished, and versions that nobody has saved for longer than is of use."""
        remove_leftovers(self._folder)
        # Earlier releases named them so.
        for path in self._folder.glob("*.partial"):
            shutil.rmtree(path, ignore_errors=True)
        limit_s = (self._clock() - 7 * KAFKA_DELETE_RETENTION_MS) / 1e3
        for path in self._all.iterdir():
            if path != self._folder and path.stat().st_mtime < limit_s:
                shutil.rmtree(path, ignore_errors=True)
