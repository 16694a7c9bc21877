"""The driver with the shipped pair: the engine's answers are the same in every run."""

from pathlib import Path

import pytest

import sidestream.streams.demo
from sidestream.models.artifact import load_model_artifact
from sidestream.models.data import LogFolder
from sidestream.models.recommend import Recommender
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.replay import ReplayCore, ReplayDriver
from sidestream.tokenizer.artifact import load_tokenizer

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
