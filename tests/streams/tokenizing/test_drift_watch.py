import base64
import dataclasses

import numpy as np
import pytest
from structlog.testing import capture_logs

from sidestream.models.records import ItemSids, TokenizedItem
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.drift import DriftMonitor, DriftWatch
from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.drift import DriftSettings
from sidestream.tokenizer.fitting import fit_tokenizer
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import text_items

MUSIC = "jazz piano quartet live session blues guitar soul drums bass trumpet night remix acoustic ballad"
KITCHEN = "recipe butter oven flour bake simmer onion garlic knife broth dough salad vinegar roast pepper"


def texts_of(words, count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words.split(), 5)) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    rng = np.random.default_rng(0)
    ids = [f"old-{number}" for number in range(400)]
    sequences = [rng.choice(400, 10, replace=False) for _ in range(60)]
    settings = TokenizerSettings(vector_dim=64, collaborative_dim=8, codebook_size=32)
    return fit_tokenizer(text_items(ids, texts_of(MUSIC, 400, 1)), sequences, WordLlamaEncoder(), settings, rng)


def published(tokenizer, prefix, texts, version=None):
    ids = [f"{prefix}-{number}" for number in range(len(texts))]
    encoded = tokenizer.encode_items(text_items(ids, texts))
    return [
        ItemSids(
            item_id=item_id,
            kind="track",
            source_offset=row,
            versions={
                version or tokenizer.version: TokenizedItem(
                    sid=tuple(encoded.codes[row].tolist()),
                    vector=base64.b64encode(encoded.vectors[row].tobytes()).decode(),
                    vector_scale=float(encoded.scales[row]),
                )
            },
        )
        for row, item_id in enumerate(ids)
    ]


def metric(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"sidestream_drift_{name}", labels)


def test_alarms_start_and_end_with_the_arrivals(tokenizer):
    metrics = Metrics()
    watch = DriftWatch(tokenizer, DriftSettings(window=100), metrics)
    with capture_logs() as lines:
        watch.observe(published(tokenizer, "new", texts_of(MUSIC, 99, 2)))
        assert (metric(metrics, "arrivals"), metric(metrics, "alarm", kind="residual")) == (99, None)
        watch.observe(published(tokenizer, "newer", texts_of(MUSIC, 20, 3)))
        assert metric(metrics, "arrivals") == 100
        assert [metric(metrics, "alarm", kind=kind) for kind in ("residual", "codes", "collisions")] == [0, 0, 0]
        assert lines == []
        watch.observe(published(tokenizer, "strange", texts_of(KITCHEN, 100, 4)))
        assert metric(metrics, "alarm", kind="residual") == 1
        assert metric(metrics, "residual_share") > 0.3
        warned = [line["event"] for line in lines if line["log_level"] == "warning"]
        assert any(line.startswith("drift alarm residual") and "sidestream tokenizer report" in line for line in warned)
        count = len(lines)
        watch.observe(published(tokenizer, "stranger", texts_of(KITCHEN, 100, 5)))
        assert len(lines) == count
        watch.observe(published(tokenizer, "back", texts_of(MUSIC, 100, 6)))
        assert metric(metrics, "alarm", kind="residual") == 0
        assert "drift alarm residual is over" in [line["event"] for line in lines]


def test_single_items_are_added_in_groups(tokenizer):
    metrics = Metrics()
    watch = DriftWatch(tokenizer, DriftSettings(window=100), metrics)
    for value in published(tokenizer, "new", texts_of(MUSIC, 9, 2)):
        watch.observe([value])
    # A twentieth of the window at a time: four items wait.
    assert metric(metrics, "arrivals") == 5


def test_training_items_and_other_versions_do_not_count_as_arrivals(tokenizer):
    metrics = Metrics()
    watch = DriftWatch(tokenizer, DriftSettings(window=100), metrics)
    keys = tokenizer.tokenizer.representation.keys
    watch.observe(published(tokenizer, "old", texts_of(MUSIC, 400, 1)))
    assert metric(metrics, "arrivals") == min(400 - len(keys), 100)
    other = Metrics()
    DriftWatch(tokenizer, DriftSettings(window=100), other).observe(
        published(tokenizer, "x", texts_of(MUSIC, 9, 1), version="other")
    )
    assert metric(other, "arrivals") == 0


def test_without_a_reference_there_are_no_alarms(tokenizer):
    metrics = Metrics()
    older = type(tokenizer)(tokenizer.tokenizer, tokenizer.encoder)
    with capture_logs() as lines:
        watch = DriftWatch(older, DriftSettings(), metrics)
        watch.observe(published(tokenizer, "strange", texts_of(KITCHEN, 2_000, 4)))
    assert [line["log_level"] for line in lines] == ["info"]
    assert "without a reference" in lines[0]["event"]
    assert (metric(metrics, "reference"), metric(metrics, "alarm", kind="residual")) == (0, None)


def test_another_version_resets_the_window(tokenizer):
    metrics = Metrics()
    monitor = DriftMonitor(DriftSettings(window=100), metrics)
    monitor.observe(published(tokenizer, "early", texts_of(MUSIC, 9, 2)))
    monitor.set_tokenizers([tokenizer])
    monitor.observe(published(tokenizer, "strange", texts_of(KITCHEN, 100, 4)))
    monitor.set_tokenizers([tokenizer])
    assert (metric(metrics, "arrivals"), metric(metrics, "alarm", kind="residual")) == (100, 1)
    wide = dataclasses.replace(tokenizer.tokenizer.levels, beam_size=2)
    other = dataclasses.replace(tokenizer, tokenizer=dataclasses.replace(tokenizer.tokenizer, levels=wide))
    monitor.set_tokenizers([other, tokenizer])
    assert (metric(metrics, "arrivals"), metric(metrics, "alarm", kind="residual")) == (0, None)
    monitor.observe(published(tokenizer, "old", texts_of(KITCHEN, 50, 5)))
    assert metric(metrics, "arrivals") == 0
    monitor.observe(published(other, "new", texts_of(MUSIC, 50, 5)))
    assert metric(metrics, "arrivals") == 50
