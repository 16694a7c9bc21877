import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.artifact import load_tokenizer, save_tokenizer
from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.fitting import fit_tokenizer
from sidestream.tokenizer.manifest import write_manifest
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import ContentSegment, Fusion, ItemContent, fit_fusion, read_views, view_dims
from sidestream.tokenizer.views.fusion import learned_weights

SMALL = {"vector_dim": 32, "collaborative_dim": 12, "codebook_size": 16}
VIEWS = ("text", "segments.dialogue", "cover")
WORDS = ["rain", "forest", "goal", "derby", "court", "trial"]
RNG = np.random.default_rng(5)


def make_item(number, genre, parts):
    """An item of a genre with some of its views; the cover is correlated with the genre."""
    cover = np.eye(3)[genre] + RNG.normal(0, 0.1, 3)
    words = f"{WORDS[2 * genre]} {WORDS[2 * genre + 1]} part {number}"
    spans = (
        ContentSegment(0, 1_000, words, "dialogue"),
        ContentSegment(1_000, 61_000, f"{WORDS[2 * genre]} {number % 7}", "dialogue"),
        ContentSegment(0, 500, "applause", "acoustics"),
    )
    return ItemContent(
        f"item-{number}",
        words if "t" in parts else "",
        {"cover": tuple(cover.tolist()), "other": (1.0,)} if "c" in parts else {},
        spans if "s" in parts else (),
    )


ITEMS = [
    make_item(number, number % 3, ("tsc", "ts", "tc", "sc", "t", "s", "c", "")[number % 8]) for number in range(64)
]
SEQUENCES = [RNG.choice(np.arange(listener % 3, 64, 3), 12) for listener in range(60)]


@pytest.fixture(scope="module")
def fused(word_hash):
    return fit_tokenizer(ITEMS, SEQUENCES, word_hash, TokenizerSettings(views=VIEWS, **SMALL), np.random.default_rng(0))


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.integers(0, 63), min_size=1, max_size=40))
def test_items_with_views_get_the_same_bits_alone_and_in_bulk(fused, chosen):
    items = [ITEMS[number] for number in chosen]
    bulk, content = fused.encode_items(items), fused.content_vectors(items)
    for row, item in enumerate(items):
        alone = fused.encode_items([item])
        assert alone.codes[0].tolist() == bulk.codes[row].tolist()
        assert alone.vectors[0].tobytes() == bulk.vectors[row].tobytes()
        assert fused.content_vectors([item])[0].tobytes() == content[row].tobytes()


def test_missing_views_leave_the_others_their_length(fused):
    """An item without a cover has the same length, and one without any view is at the mean."""
    lengths = np.linalg.norm(fused.content_vectors(ITEMS), axis=1)
    assert lengths[7] == 0.0
    for parts in range(7):
        of_kind = lengths[parts::8]
        assert of_kind.min() > 0.6
    fusion = Fusion(("a", "b"), (np.zeros(2), np.zeros(2)), np.array([0.75, 0.5]))
    block, missing = np.array([[1.0, 0.0]]), np.zeros((1, 2))
    assert fusion.fuse([block, missing]).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert fusion.fuse([missing, block]).tolist() == [[0.0, 0.0, 1.0, 0.0]]
    both = fusion.fuse([block, block])[0]
    assert np.linalg.norm(both) == pytest.approx(1.0, abs=1e-4)
    assert both[0] / both[2] == pytest.approx(1.5, abs=1e-3)
    assert fusion.fuse([missing, missing]).tolist() == [[0.0] * 4]


def test_segments_are_averaged_by_duration_within_their_field(word_hash):
    one, other = "rain forest", "goal derby"
    segments = (ContentSegment(0, 1_000, one, "dialogue"), ContentSegment(1_000, 4_000, other, "dialogue"))
    noise = ContentSegment(0, 4_000, "court", "acoustics")
    item = ItemContent("a", segments=(*segments, noise))
    dims = view_dims(["segments.dialogue", "segments"], [item], word_hash)
    by_field, all_fields = (rows[0] for rows in read_views([item], dims, word_hash))
    units = [row / np.linalg.norm(row) for row in word_hash.encode([one, other, "court"]).astype(float)]
    wanted = units[0] + 3 * units[1]
    assert by_field == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-4)
    wanted = wanted + 4 * units[2]
    assert all_fields == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-4)
    turned = ItemContent("a", segments=(noise, *segments[::-1]))
    assert read_views([turned], dims, word_hash)[0].tobytes() == by_field[None].tobytes()


@pytest.mark.parametrize(
    ("cover", "message"),
    [
        ((1.0, 2.0), "view 'cover': wrong size: expected 3 numbers as when it was fitted, got 2"),
        ((1.0, float("nan"), 0.0), "view 'cover': number 1 of 3 is NaN or infinity"),
        ((1.0, 2.0, float("inf")), "view 'cover': number 2 of 3 is NaN or infinity"),
        ((0.0, -0.0, 0.0), "view 'cover': all 3 numbers are zero"),
        ((), "view 'cover': wrong size: expected 3 numbers as when it was fitted, got 0"),
    ],
)
def test_a_bad_vector_is_reported_with_the_name_of_its_view(fused, cover, message):
    with pytest.raises(TokenizerError, match=message):
        fused.encode_items([ITEMS[0], ItemContent("new", "rain", {"cover": cover})])


def test_huge_and_tiny_vectors_count_by_their_direction_alone(fused):
    codes = [
        fused.encode_items([ItemContent("n", "", {"cover": (scale, -scale, scale / 2)})]).vectors.tobytes()
        for scale in (1.0, 2.0**900, 2.0**-900)
    ]
    assert len(set(codes)) == 1


def test_views_that_the_tokenizer_does_not_read_are_not_looked_at(fused):
    odd = ItemContent("item-0", ITEMS[0].text, {**ITEMS[0].views, "other": (), "newer": (0.0,)}, ITEMS[0].segments)
    assert fused.encode_items([odd]).vectors.tobytes() == fused.encode_items(ITEMS[:1]).vectors.tobytes()


def test_words_alone_stay_the_tokenizer_that_they_were(word_hash):
    plain = fit_tokenizer(ITEMS, SEQUENCES, word_hash, TokenizerSettings(**SMALL), np.random.default_rng(0))
    named = TokenizerSettings(views=("text",), **SMALL)
    assert plain.tokenizer.fusion is None
    assert fit_tokenizer(ITEMS, SEQUENCES, word_hash, named, np.random.default_rng(0)).version == plain.version


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("text", "text"), "expected each once"),
        (("segments.video",), "of text only text, segments, segments.events"),
        (("sleeve",), "view 'sleeve': no item has a vector for it"),
    ],
)
def test_views_that_cannot_be_read_are_refused_when_fitting(word_hash, names, message):
    with pytest.raises(TokenizerError, match=message):
        view_dims(names, ITEMS, word_hash)


def test_a_vector_of_another_size_in_the_catalogue_fails_the_fit(word_hash):
    items = [ItemContent("a", views={"cover": (1.0, 2.0)}), ItemContent("b", views={"cover": (1.0,)})]
    with pytest.raises(TokenizerError, match="view 'cover': wrong size"):
        fit_tokenizer(items, [], word_hash, TokenizerSettings(views=("cover",)), np.random.default_rng(0))


def test_the_view_that_listeners_follow_gets_the_weight():
    rng = np.random.default_rng(3)
    taste = rng.standard_normal((300, 4))
    informative, noise = taste @ rng.standard_normal((4, 8)), rng.standard_normal((300, 8))
    blocks = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in (informative, noise)]
    weights = learned_weights(blocks, taste)
    assert weights[0] > 3 * weights[1]
    # Not heard, or nothing to learn from: all alike.
    assert learned_weights(blocks, np.zeros((300, 4))).tolist() == [1.0, 1.0]
    assert learned_weights(blocks, None).tolist() == [1.0, 1.0]
    doubled = learned_weights([blocks[0], blocks[0], blocks[1]], taste)
    assert (doubled[:2] ** 2).sum() == pytest.approx(weights[0] ** 2, rel=0.05)


def test_fixed_weights_are_kept_and_bad_ones_refused():
    blocks = [np.eye(3)] * 2
    assert fit_fusion(["a", "b"], blocks, (3.0, 4.0), None).weights == pytest.approx([0.6, 0.8], abs=1e-6)
    for weights in ((0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (1.0,)):
        with pytest.raises(TokenizerError, match="view"):
            fit_fusion(["a", "b"], blocks, weights, None)
    with pytest.raises(ValueError, match="view_weights must be empty or one for each of"):
        TokenizerSettings(views=("text", "cover"), view_weights=(1.0,))


def test_the_version_names_the_views_and_their_weights(fused):
    tokenizer = fused.tokenizer
    fusion = tokenizer.fusion
    others = [
        dataclasses.replace(fusion, names=("text", "segments.events", "cover")),
        dataclasses.replace(fusion, weights=fusion.weights[::-1].copy()),
        dataclasses.replace(fusion, means=(fusion.means[0] + 2.0**-16, *fusion.means[1:])),
    ]
    versions = {dataclasses.replace(tokenizer, fusion=other).version for other in others}
    assert len(versions | {tokenizer.version}) == 4
    with pytest.raises(TokenizerError, match="its views have 96 dimensions, its representation takes 99"):
        dataclasses.replace(tokenizer, fusion=Fusion(VIEWS[:2], fusion.means[:2], fusion.weights[:2]))


def test_an_artifact_keeps_its_views(fused, word_hash, tmp_path):
    folder = tmp_path / "tokenizer"
    save_tokenizer(folder, fused)
    loaded = load_tokenizer(folder, word_hash)
    assert loaded.version == fused.version
    assert loaded.tokenizer.views == VIEWS
    assert loaded.encode_items(ITEMS).vectors.tobytes() == fused.encode_items(ITEMS).vectors.tobytes()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "views": ["text", "cover", "segments.dialogue"]}))
    write_manifest(folder, {"artifact": "tokenizer", "tokenizer_version": fused.version})
    with pytest.raises(ArtifactError, match="its arrays are version"):
        load_tokenizer(folder, word_hash)
