"""Pytest fixtures for code that uses Sidestream: a builder of log folders, and the broker-free driver.

Enable them in a `conftest.py`:

    pytest_plugins = ["sidestream.testing"]

A test then states the events and the expected candidates:

    def test_a_new_episode_is_recommended(log_folder, replay, demo_pair):
        log = log_folder()
        for number in range(20):
            log.item(f"e{number}", title=f"Episode {number}", kind="episode")
        log.listen("ann", "e3").listen("ann", "e4").session("ann")
        (answer,) = replay(log.write(), demo_pair)
        assert len(answer.candidates) == 10

`LogFolderBuilder` and `replay_log` can be used without pytest.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sidestream.models.data import LogFolder, LogFolderWriter
from sidestream.models.data.manifest import Clock, Split
from sidestream.models.data.rows import ListenRow
from sidestream.models.data.writer import FolderFacts
from sidestream.models.records import CandidateSet, CatalogItem, SessionStart
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.replay.driver import ReplayDriver
from sidestream.streams.settings import Settings

# 2024-01-01T00:00:00Z; times of a log must be plausible, and a fixed start makes runs reproducible.
START_AT = 1_704_067_200_000
STEP_MS = 60_000


class LogFolderBuilder:
    """Collects events of all topics and writes them as a log folder.

    Each event is a minute after the previous one, unless `at` (UTC epoch ms) is given. All methods except `write`
    return the builder.

    Args:
        path: The folder to create; it must not exist.
        start_at: Time of the first event, UTC epoch ms.
    """

    def __init__(self, path: Path, start_at: int = START_AT) -> None:
        self.path = path
        self._next_at = start_at
        self._num_events = 0
        self._rows: list[tuple[int, int, Callable[[LogFolderWriter], None]]] = []

    def item(self, item_id: str, at: int | None = None, **fields: Any) -> Self:
        """Add an item, or a new version of one.

        Args:
            item_id: Id of the item.
            at: Time, UTC epoch ms.
            **fields: Fields of `catalog-items.v1`; by default `kind` is `track` and `title` is the id.

        Returns:
            This builder.
        """
        at = self._at(at)
        item = CatalogItem.model_validate(
            {"item_id": item_id, "kind": "track", "title": item_id, "at": at, **fields}, extra="forbid"
        )
        return self._add(at, lambda writer: writer.item(item))

    def removal(self, item_id: str, at: int | None = None) -> Self:
        """Add the removal of an item."""
        at = self._at(at)
        return self._add(at, lambda writer: writer.removal(item_id, at))

    def listen(self, user_id: str, item_id: str, at: int | None = None, **fields: Any) -> Self:
        """Add a listen; `**fields` are fields of `listen-events.v1`."""
        at = self._at(at)
        given = {"event_id": f"event-{self._num_events}", "user_id": user_id, "item_id": item_id, "at": at, **fields}
        row = ListenRow(**given)
        return self._add(at, lambda writer: writer.listen(row))

    def session(self, user_id: str, at: int | None = None, **fields: Any) -> Self:
        """Add a session-start; `**fields` are fields of `session-starts.v1`."""
        at = self._at(at)
        given = {"session_id": f"session-{self._num_events}", "user_id": user_id, "at": at, "num_candidates": 10}
        start = SessionStart.model_validate({**given, **fields}, extra="forbid")
        return self._add(at, lambda writer: writer.session(start))

    def write(self) -> LogFolder:
        """Write the folder.

        Returns:
            The folder, opened for reading.

        Raises:
            DataError: The folder exists.
        """
        facts = FolderFacts(
            name=self.path.name,
            source="made by sidestream.testing",
            licence="none needed",
            events_are="invented listens",
            clock=Clock(kind="synthetic", statement="a minute from one event to the next unless a test says otherwise"),
            split=Split(protocol="none", statement="nothing is held out"),
        )
        with LogFolderWriter(self.path) as writer:
            for _, _, put in sorted(self._rows, key=lambda row: row[:2]):
                put(writer)
            writer.finish(facts)
        return LogFolder(self.path)

    def _at(self, at: int | None) -> int:
        at = self._next_at if at is None else at
        self._next_at = at + STEP_MS
        return at

    def _add(self, at: int, put: Callable[[LogFolderWriter], None]) -> Self:
        self._rows.append((at, self._num_events, put))
        self._num_events += 1
        return self


def replay_log(folder: LogFolder | Path, pair: Path, settings: Settings | None = None) -> list[CandidateSet]:
    """Replay a log folder through tokenizer, fold, catalogue and recommender, without a broker.

    Args:
        folder: The log.
        pair: Folder with `tokenizer/` and `model/`.
        settings: Defaults to those of a worker.

    Returns:
        The candidate set of each session-start, in the log's order; the same in every run.
    """
    return list(ReplayDriver.load(folder, pair, settings).run())


try:
    import pytest
except ModuleNotFoundError:  # the fixtures need it, the builder and `replay_log` do not
    pass
else:

    @pytest.fixture
    def log_folder(tmp_path: Path) -> Callable[[], LogFolderBuilder]:
        """Creates builders of log folders, each with a separate folder."""
        made = 0

        def make() -> LogFolderBuilder:
            nonlocal made
            made += 1
            return LogFolderBuilder(tmp_path / f"log-{made}")

        return make

    @pytest.fixture
    def replay() -> Callable[..., list[CandidateSet]]:
        """Replays a log folder without a broker: `replay(folder, pair)`."""
        return replay_log

    @pytest.fixture
    def demo_pair() -> Path:
        """The pair of the package: small, trained on synthetic listens only; for tests, not for production."""
        return shipped_pair()
