"""Replays a log folder without a broker, with the same tokenizer, fold, catalogue and recommender as a worker.

Everything happens in the log's total order and at the log's times, unlike in a distributed system, so two runs give the
same answers byte for byte: `produced_at` is the session-start's `at`, and all timings are zero. Source offsets are line
numbers from 0, as if each topic had one partition. There are no erasures: a log folder contains no erasure requests,
because training and evaluation, which read the same listens, do not support them; leave erased users out of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, cast

from sidestream.models.data import CatalogEvent, Cursor, ListenRow, LogFolder, LogRow
from sidestream.models.history import fold
from sidestream.models.recommend import Recommender, RecommendSettings, Steps
from sidestream.models.records import CandidateSet, CatalogItem, SessionStart
from sidestream.models.settings import EngineSettings
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.errors import ArtifactError
from sidestream.streams.generations.pair import load_pair
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.replay.popularity import ReplayPopularity
from sidestream.streams.tokenizing.values import ItemEncoder, item_sids
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot, CatalogueUpdate, Vectorize

if TYPE_CHECKING:
    # At run time this would be a circular import: the settings import this package.
    from sidestream.streams.settings import Settings


class ReplayTokenizer(ItemEncoder, Protocol):
    """The tokenizer as the driver needs it; `tokenizer.CatalogTokenizer` is one."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    @property
    def vector_dim(self) -> int:
        """Components of a representation vector."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayCore:
    """The parts of a worker that a replay runs.

    Attributes:
        tokenizer: Assigns SIDs to items.
        vectorize: Makes the model's item vectors: `ItemTable.vectorize`.
        d_model: Dimensions of those vectors.
        recommender: Answers session-starts.
        popularity: How listens are counted, and how the counts order the catalogue.
        new_within_hours: `recommend.new_within_hours`.
    """

    tokenizer: ReplayTokenizer
    vectorize: Vectorize
    d_model: int
    recommender: Recommender
    popularity: PopularitySettings = field(default_factory=PopularitySettings)
    new_within_hours: float = RecommendSettings().new_within_hours


@dataclass(slots=True)
class ReplayCounts:
    """Counters and states of a run."""

    items: int = 0
    removals: int = 0
    listens: int = 0
    repeats: int = 0
    late: int = 0
    sessions: int = 0
    snapshots: int = 0
    states: dict[str, bytes] = field(default_factory=dict)
    """User states by user id, as in a worker's table."""


class ReplayDriver:
    """Runs the core over a log folder.

    Args:
        folder: The log.
        core: The parts to run.
        on_row: Called with each row after it is processed; for progress bars.

    Example:
        >>> from sidestream import ReplayDriver
        >>> answers = list(ReplayDriver.load("log", "pair").run())
        >>> best = [candidate.item_id for candidate in answers[-1].candidates[:3]]
    """

    def __init__(self, folder: LogFolder, core: ReplayCore, *, on_row: Callable[[LogRow], None] | None = None) -> None:
        self._folder = folder
        self._core = core
        self._on_row = on_row
        self._decoder = UpdateDecoder(core.tokenizer.version, core.tokenizer.codebook_sizes, core.tokenizer.vector_dim)
        self.counts = ReplayCounts()

    @classmethod
    def load(cls, folder: LogFolder | Path | str, pair: Path | str, settings: "Settings | None" = None) -> Self:
        """Create a driver from a pair folder.

        The log comes first, as in the constructor; `Recommender.load` takes the pair first.

        Args:
            folder: The log.
            pair: Folder with `tokenizer/` and `model/`.
            settings: A worker's default settings if omitted.

        Returns:
            The driver.

        Raises:
            ArtifactError: The pair is missing, damaged, or its parts do not belong together.
        """
        loaded = load_pair(Path(pair), EngineSettings() if settings is None else settings.engine)
        recommender = Recommender(
            loaded.engine,
            loaded.tokenizer.version,
            loaded.model_version,
            None if settings is None else settings.recommend,
            loaded.alignments,
        )
        if loaded.vectorize is None:
            msg = f"{pair}: expected a model with the tokenizer, found none; train one with `sidestream train model`"
            raise ArtifactError(msg)
        popularity = PopularitySettings() if settings is None else settings.popularity
        rules = RecommendSettings() if settings is None else settings.recommend
        core = ReplayCore(
            loaded.tokenizer, loaded.vectorize, loaded.dim, recommender, popularity, rules.new_within_hours
        )
        return cls(folder if isinstance(folder, LogFolder) else LogFolder(folder), core)

    def run(self) -> Iterator[CandidateSet]:
        """Play the log from its beginning.

        Yields:
            The candidates of each session-start, in log order.

        Raises:
            DataError: A line of the log is malformed.
        """
        self.counts = ReplayCounts()
        tokenizer = self._core.tokenizer
        catalogue = Catalogue(
            tokenizer.version,
            tokenizer.codebook_sizes,
            self._core.d_model,
            self._core.vectorize,
            x_dim=tokenizer.vector_dim,
        )
        snapshot = catalogue.snapshot()
        counted = ReplayPopularity(self._core.popularity, self._core.new_within_hours)
        waiting: list[LogRow] = []
        for row in self._folder.merged(Cursor()):
            if row.topic == "catalog":
                waiting.append(row)
            else:
                if waiting:
                    catalogue.apply(self._updates(waiting))
                    waiting.clear()
                # The same snapshot unless items were added, removed or have expired.
                snapshot = self._fresh(catalogue, snapshot, row.at)
                if isinstance(row.record, ListenRow):
                    self._listen(row, row.record, snapshot)
                    counted.add(row.record)
                else:
                    yield self._answer(cast(SessionStart, row.record), counted.ranked(snapshot, row.at))
            if self._on_row is not None:
                self._on_row(row)

    def _fresh(self, catalogue: Catalogue, snapshot: CatalogueSnapshot, at: int) -> CatalogueSnapshot:
        newer = catalogue.snapshot(now_ms=at)
        self.counts.snapshots += newer is not snapshot
        return newer

    def _listen(self, row: LogRow, listen: ListenRow, snapshot: CatalogueSnapshot) -> None:
        states = self.counts.states
        result = fold(states.get(row.key), [(row.line - 1, listen)], snapshot.stored_sid)
        states[row.key] = result.state
        self.counts.listens += 1
        self.counts.repeats += result.repeats
        self.counts.late += result.late

    def _answer(self, start: SessionStart, snapshot: CatalogueSnapshot) -> CandidateSet:
        self.counts.sessions += 1
        state = self.counts.states.get(start.user_id)
        return self._core.recommender.recommend(start, state, snapshot, start.at, Steps(seconds=lambda: 0.0))

    def _updates(self, rows: list[LogRow]) -> list[CatalogueUpdate]:
        """Tokenize the items since the last event, and decode them as a worker decodes the topic."""
        items: list[CatalogItem] = []
        offsets: list[int] = []
        for row in rows:
            event = cast(CatalogEvent, row.record)
            if event.item is not None:
                items.append(event.item)
                offsets.append(row.line - 1)
        values = iter(item_sids(self._core.tokenizer, items, offsets))
        updates: list[CatalogueUpdate] = []
        for row in rows:
            value = None if row.value is None else next(values).to_json()
            updates.append(self._decoder.decode(row.key.encode(), value))
        self.counts.items += len(items)
        self.counts.removals += len(rows) - len(items)
        return updates
