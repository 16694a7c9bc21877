"""From a file of plays to candidates by the commands that a person types, and a replay without a broker."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidestream.models.data import LogFolder
from sidestream.models.recommend import Recommender
from sidestream.streams.cli.main import app
from sidestream.streams.replay import ReplayCore, ReplayDriver
from sidestream.tokenizer.artifact import load_tokenizer
from tests.models.log_catalogue import catalogue_at
from tests.streams.replay.plays_file import write_listens

pytestmark = pytest.mark.train
SMALLEST = {"epochs": 2, "d_model": 16, "head_dim": 8, "num_layers": 1, "num_negatives": 64, "validation_listeners": 10,
            "guide_weights": [[0.25, 2.0]], "batch_positions": 4096, "min_batches": 8}  # fmt: skip


def run(*args):
    settings = [part for name, value in SMALLEST.items() for part in ("--set", f"train.{name}={json.dumps(value)}")]
    done = CliRunner().invoke(app, [*settings, *map(str, args), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("plays", [6_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_plays_become_candidates(tmp_path: Path, plays: int) -> None:
    pytest.importorskip("torch")
    engine, settings = (
        pytest.importorskip("sidestream.models.engine"),
        pytest.importorskip("sidestream.models.settings"),
    )
    artifacts = pytest.importorskip("sidestream.models.artifact")
    log, pair = tmp_path / "log", tmp_path / "pair"
    facts = run("import", "listenbrainz", write_listens(tmp_path / "plays.listens", plays), log, "--split", "session")
    assert facts["notes"][0].startswith(f"2 of {plays:,} rows are damaged and left out: ")
    assert (facts["items"], facts["listeners"], facts["heldout_test"]) == (480, 200, 200)
    assert run("log", "check", log)["is_sound"]
    run("tokenizer", "train", log, pair / "tokenizer", "--sizes", "16,16")
    trained = run("train", "model", log, pair)
    found = run("evaluate", log, pair, "--listeners", "60")
    assert (found["split"], found["num_listeners"]) == ("last_session", 60)
    assert trained["model_version"] == found["model_version"]

    folder = LogFolder(log)
    items = load_tokenizer(pair / "tokenizer")
    model = artifacts.load_model_artifact(pair / "model", items.version)
    recommender = Recommender(engine.Engine(model, settings.EngineSettings(beam_size=8)), items.version, model.version)
    core = ReplayCore(items, model.item_table.vectorize, model.item_table.d_model, recommender)
    asked = {row.session_id for row in folder.heldout() if row.role == "test"}
    answers = {answer.session_id: answer for answer in ReplayDriver(folder, core).run() if answer.session_id in asked}
    assert answers.keys() == asked
    assert all(answer.fallback is None and len(answer.candidates) == 30 for answer in answers.values())
    known = {item.item_id for item in catalogue_at(folder).values()}
    assert all(candidate.item_id in known for answer in answers.values() for candidate in answer.candidates)
