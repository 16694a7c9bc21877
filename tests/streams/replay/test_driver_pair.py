"""The driver with the shipped pair: the engine's answers are the same in every run."""

from pathlib import Path

import numpy as np
import pytest

import sidestream.streams.demo
from sidestream.models.artifact import load_model_artifact
from sidestream.models.data import LogFolder
from sidestream.models.recommend import Recommender
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.replay import ReplayCore, ReplayDriver
from sidestream.streams.settings import Settings
from sidestream.testing import LogFolderBuilder
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.catalogue.newness import is_new

PAIR = Path(sidestream.streams.demo.__file__).parent / "artifact"


def test_the_shipped_pair_gives_the_same_answers_twice(tmp_path: Path) -> None:
    if not (PAIR / "model").is_dir():
        pytest.skip(f"no shipped pair at {PAIR}; make demo-artifact builds it")
    engine = pytest.importorskip("sidestream.models.engine")
    settings = pytest.importorskip("sidestream.models.settings")
    tokenizer = load_tokenizer(PAIR / "tokenizer")
    artifact = load_model_artifact(PAIR / "model", tokenizer.version)
    generate_world(tmp_path / "log", WorldSettings(listeners=60, days=6))
    folder = LogFolder(tmp_path / "log")

    def run() -> list[bytes]:
        # A new engine each time: nothing may be carried over.
        recommender = Recommender(
            engine.Engine(artifact, settings.EngineSettings()), tokenizer.version, artifact.version
        )
        table = artifact.item_table
        core = ReplayCore(tokenizer, table.vectorize, table.d_model, recommender)
        answers = list(ReplayDriver(folder, core).run())
        assert sum(answer.fallback is None for answer in answers) > len(answers) // 3
        assert all(answer.candidates for answer in answers)
        return [answer.to_json() for answer in answers]

    assert run() == run()


def test_the_settings_say_for_how_long_an_item_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[float] = set()

    def noted(published_s: np.ndarray, now_ms: int, within_hours: float) -> np.ndarray:
        asked.add(within_hours)
        return is_new(published_s, now_ms, within_hours)

    for user in ("sidestream.models.recommend.new_items", "sidestream.tokenizer.popularity.ranking"):
        monkeypatch.setattr(f"{user}.is_new", noted)
    log = LogFolderBuilder(tmp_path / "log").item("a").listen("ann", "a").session("ann").write()
    list(ReplayDriver.load(log, PAIR, Settings(recommend={"new_within_hours": 5.0})).run())
    assert asked == {5.0}
