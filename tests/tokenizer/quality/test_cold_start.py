"""Held-out items are found near their true neighbours if content is informative, and at chance if it is not."""

import numpy as np
import pytest

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.quality.cold_start import measure_cold_start
from sidestream.tokenizer.settings import TokenizerSettings

SETTINGS = TokenizerSettings(vector_dim=24, collaborative_dim=8)
NUM, TASTES = 240, 12


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(2)
    taste = rng.integers(0, TASTES, NUM)
    sequences = [rng.permutation(np.flatnonzero(taste == listener % TASTES))[:12] for listener in range(400)]
    content = np.eye(TASTES)[taste] + 0.2 * rng.standard_normal((NUM, TASTES))
    return np.arange(NUM, dtype=np.uint64), content.astype(np.float32), sequences


def test_informative_content_finds_true_neighbours(world):
    report = measure_cold_start(*world, SETTINGS, np.random.default_rng(0))
    assert (report.num_heard, report.num_unheard, report.neighbours) == (192, 48, 10)
    assert report.chance == pytest.approx(10 / 192, abs=1e-3)
    assert report.predicted_recall > 5 * report.chance
    assert report.known_recall >= report.predicted_recall - 0.05


def test_uninformative_content_finds_neighbours_at_chance(world):
    keys, content, sequences = world
    noise = np.random.default_rng(3).standard_normal(content.shape).astype(np.float32)
    report = measure_cold_start(keys, noise, sequences, SETTINGS, np.random.default_rng(0))
    assert report.predicted_recall < 2.5 * report.chance
    assert report.content_recall < 2 * report.chance
    # What listens say is not touched by the content.
    assert report.known_recall > 5 * report.chance


def test_too_few_heard_items_give_no_report(world):
    keys, content, _ = world
    assert measure_cold_start(keys, content, [np.arange(5)], SETTINGS, np.random.default_rng(0)) is None
    content_alone = SETTINGS.model_copy(update={"collaborative_dim": 0})
    assert measure_cold_start(*world, content_alone, np.random.default_rng(0)) is None


def test_content_of_other_items_is_refused(world):
    keys, content, sequences = world
    with pytest.raises(TokenizerError, match="got 240 and 239"):
        measure_cold_start(keys, content[1:], sequences, SETTINGS, np.random.default_rng(0))
