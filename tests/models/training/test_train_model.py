"""The whole training on a tiny world: artifact, metrics, determinism, errors."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.train

from sidestream.models.artifact import load_model_artifact  # noqa: E402
from sidestream.models.data import LogFolder, training_sequences  # noqa: E402
from sidestream.models.evaluation import NOT_LISTED, Cases, summary  # noqa: E402
from sidestream.models.evaluation.catalogue import item_contents  # noqa: E402
from sidestream.models.evaluation.run import evaluate  # noqa: E402
from sidestream.models.network import GenModel, NetworkConfig  # noqa: E402
from sidestream.models.reexport import reexport  # noqa: E402
from sidestream.models.settings import EngineSettings  # noqa: E402
from sidestream.models.training.diagnostics import dense_ranks  # noqa: E402
from sidestream.models.training.loop import TrainingData, fit  # noqa: E402
from sidestream.models.training.progress import ignore_progress  # noqa: E402
from sidestream.models.training.settings import TrainSettings  # noqa: E402
from sidestream.models.training.train import train_model  # noqa: E402
from sidestream.models.world import WorldSettings, generate_world  # noqa: E402
from sidestream.tokenizer.content import WordLlamaEncoder  # noqa: E402
from sidestream.tokenizer.errors import ArtifactError  # noqa: E402
from sidestream.tokenizer.fitting import fit_tokenizer  # noqa: E402
from sidestream.tokenizer.settings import TokenizerSettings  # noqa: E402

SETTINGS = TrainSettings(
    epochs=4,
    d_model=32,
    head_dim=16,
    num_negatives=64,
    validation_listeners=10,
    guide_weights=((0.25, 2.0), (1.0, 2.0)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(listeners=50, shows=4, artists=5, books=2, live_per_day=0, days=5))
    return LogFolder(path)


@pytest.fixture(scope="module")
def tokenizer(folder):
    sequences = training_sequences(folder)
    return fit_tokenizer(
        item_contents(folder, sequences.item_ids),
        sequences.liked,
        WordLlamaEncoder(),
        TokenizerSettings(),
        np.random.default_rng(0),
    )


@pytest.fixture(scope="module")
def trained(folder, tokenizer, tmp_path_factory):
    steps = []
    place = tmp_path_factory.mktemp("pair") / "model"
    return train_model(folder, tokenizer, place, SETTINGS, steps.append), steps


def test_train_model_leaves_a_complete_artifact(trained, tokenizer):
    result, steps = trained
    artifact = load_model_artifact(result.artifact.folder, tokenizer.version)
    names = {path.name for path in artifact.folder.iterdir()}

    assert {"model.onnx", "weights.safetensors", "curve.csv", "curve.png", "metrics.json", "README.md"} <= names
    assert [path.name for path in artifact.folder.parent.iterdir()] == ["model"], "no half-written folder is left"
    lines = (artifact.folder / "curve.csv").read_text().splitlines()
    assert len(lines) == 1 + SETTINGS.epochs
    first, last = (float(line.split(",")[4]) for line in (lines[1], lines[-1]))
    assert last < first, "the item loss falls"
    assert (artifact.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    notes = [step.note for step in steps if "validation" in step.note]
    assert notes
    assert all("validation R@10 x (seen items left out) 0." in note for note in notes)
    assert "Recall is that of each listener's held-out item" in (artifact.folder / "README.md").read_text()
    assert {step.stage for step in steps} == {"prepare", "train", "export", "guide", "evaluate"}


def test_train_model_reports_all_rankers(trained):
    metrics = trained[0].metrics
    assert json.loads(json.dumps(metrics)) == metrics
    assert set(metrics["evaluation"]["rankers"]) == {"popularity", "item_knn", "generator", "dense_head"}
    assert metrics["headline_column"] == "seen_excluded"
    chosen = max(metrics["guide"], key=lambda trial: trial["ndcg_at_10"])
    assert trained[0].artifact.config.gamma == chosen["gamma"]
    for name in ("recall_at_10", "popularity_recall_at_10", "item_knn_recall_at_10", "recall_at_30"):
        assert 0.0 <= metrics[name] <= 1.0


def test_evaluate_repeats_the_figures_of_the_training(trained, folder, tokenizer):
    result = trained[0]
    found = evaluate(folder, tokenizer, result.artifact, EngineSettings())
    for name in ("popularity", "item_knn", "generator"):
        assert found["rankers"][name] == result.metrics["evaluation"]["rankers"][name]
    assert found["headline_column"] == "seen_excluded"
    assert found["model_version"] == result.artifact.version


def test_a_trained_model_is_exported_again_and_nothing_else_changes(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained[0].artifact.folder, folder)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = reexport(folder)
    after = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found["after"] == found["before"] == trained[0].artifact.version
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_equal_seeds_give_equal_weights_and_others_do_not(folder, tokenizer):
    sequences = training_sequences(folder)
    codes = tokenizer.encode_items(item_contents(folder, sequences.item_ids)).codes
    vectors = np.random.default_rng(3).normal(size=(len(codes), SETTINGS.d_model)).astype(np.float32)
    data = TrainingData(sequences.train, codes, vectors, Cases([], np.empty(0, np.int32)), sequences.train_is_liked)

    def weights(seed):
        settings = SETTINGS.model_copy(update={"seed": seed, "epochs": 2})
        done = fit(data, settings.network(tokenizer.codebook_sizes), settings, ignore_progress)
        return np.concatenate([done.item_vectors.ravel(), done.model.code_embedding.detach().numpy().ravel()])

    before = torch.get_num_threads()
    first = weights(1)
    torch.rand(7)  # what others draw must not matter
    assert np.array_equal(first, weights(1))
    assert not np.array_equal(first, weights(2))
    assert torch.get_num_threads() == before


def test_a_listen_that_was_not_liked_teaches_nothing_as_a_target():
    """The identity of an item makes no difference in the last position, so it is not an input."""
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)
    vectors = np.random.default_rng(3).normal(size=(4, 32)).astype(np.float32)

    def weights(last, liked):
        # The other listeners have every item, so that the drawn negatives are the same.
        sequences = [np.array(items, np.int32) for items in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 1, last])]
        marks = [np.ones(4, np.bool_), np.ones(4, np.bool_), np.array([True, True, liked])]
        data = TrainingData(sequences, codes, vectors, Cases([], np.empty(0, np.int32)), marks)
        settings = SETTINGS.model_copy(update={"epochs": 2})
        return fit(data, settings.network((2, 2)), settings, ignore_progress).item_vectors

    assert np.array_equal(weights(2, liked=False), weights(3, liked=False))
    assert not np.array_equal(weights(2, liked=True), weights(3, liked=True))


def test_train_model_refuses_a_folder_of_something_else(folder, tokenizer, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not an artifact of kind model"):
        train_model(folder, tokenizer, tmp_path, SETTINGS)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_dense_ranks_match_a_plain_count():
    rng = np.random.default_rng(5)
    config = NetworkConfig(codebook_sizes=(4, 4), d_model=16, head_dim=8, num_layers=1, max_len=3)
    model = GenModel(config, seed=1).eval()
    codes = rng.integers(0, 4, size=(12, 2)).astype(np.int32)
    u = torch.tensor(rng.normal(size=(12, 16)).astype(np.float32))
    histories = [rng.integers(0, 12, size=length).astype(np.int32) for length in (1, 2, 5)]
    cases = Cases(histories, np.array([3, int(histories[1][0]), 8], np.int32))

    found = {seen: dense_ranks(model, u, codes, cases, exclude_seen=seen) for seen in (False, True)}

    table = model.item_vectors(torch.tensor(codes, dtype=torch.long), u)
    for row, history in enumerate(histories):
        latest = torch.tensor(history[-3:], dtype=torch.long)
        tokens = model.tokens(torch.tensor(codes[history[-3:]], dtype=torch.long)[None], u[latest][None], drop=False)
        scores = (model.encode(tokens)[0, -1] @ table.T).detach().numpy()
        target = int(cases.targets[row])
        assert found[False][row] == (scores > scores[target]).sum()
        others = [item for item in range(12) if item not in history]
        expected = sum(scores[item] > scores[target] for item in others) if target in others else NOT_LISTED
        assert found[True][row] == expected


def test_dense_ranks_count_ties_by_index_and_no_excluded_item_as_a_hit():
    config = NetworkConfig(codebook_sizes=(4, 4), d_model=16, head_dim=8, num_layers=1, max_len=3)
    model, codes, u = GenModel(config, seed=1).eval(), np.zeros((8, 2), np.int32), torch.ones((8, 16))
    cases = Cases([np.array([2], np.int32)] * 3, np.array([0, 2, 7], np.int32))
    assert dense_ranks(model, u, codes, cases, exclude_seen=False).tolist() == [0, 2, 7]
    excluded = dense_ranks(model, u, codes, cases, exclude_seen=True)
    assert excluded.tolist() == [0, NOT_LISTED, 6]
    # Fewer items than k: the excluded item is still no hit.
    assert summary(excluded)["recall_at_10"].value == pytest.approx(2 / 3)


def test_a_validation_item_that_is_excluded_is_no_hit_of_the_curve():
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)
    vectors = np.random.default_rng(3).normal(size=(4, 32)).astype(np.float32)
    history = np.array([0, 1, 2, 3], np.int32)
    data = TrainingData([history], codes, vectors, Cases([history], np.array([1], np.int32)))
    settings = SETTINGS.model_copy(update={"epochs": 1})
    (point,) = fit(data, settings.network((2, 2)), settings, ignore_progress).curve
    assert point.validation_recall_at_10 == 0.0


@pytest.mark.slow
def test_equal_trainings_have_equal_manifests(trained, folder, tokenizer, tmp_path):
    again = train_model(folder, tokenizer, tmp_path / "model", SETTINGS)
    first, second = (
        json.loads((artifact.folder / "manifest.json").read_text())
        for artifact in (trained[0].artifact, again.artifact)
    )
    assert first == second
