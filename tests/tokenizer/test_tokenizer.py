import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.fitting import fit_tokenizer, report_sids
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.tokenizer import CatalogTokenizer, Tokenizer
from sidestream.tokenizer.views import text_items

WORDS = [
    "rain",
    "forest",
    "sleep",
    "calm",
    "night",
    "goal",
    "match",
    "league",
    "coach",
    "derby",
    "crime",
    "trial",
    "court",
    "detective",
    "case",
]
SMALL = TokenizerSettings(vector_dim=32, collaborative_dim=12, codebook_size=16)


def fit(items, sequences, encoder, settings=SMALL, seed=0):
    return fit_tokenizer(items, sequences, encoder, settings, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def wordllama_tokenizer(catalogue, wordllama):
    return fit(*catalogue, wordllama)


text = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=300).map(" ".join), st.text(max_size=60), st.just(""), st.just("é" * 5000)
)


@settings(max_examples=80, deadline=None)
@given(items=st.lists(st.tuples(st.integers(0, 120), text), min_size=1, max_size=40))
def test_items_get_the_same_codes_and_vectors_alone_and_in_bulk(wordllama_tokenizer, items):
    # Texts from none to 5,000 characters in one batch, known and unknown ids: the batch must not affect a single bit.
    items = text_items([f"item-{number}" for number, _ in items], [words for _, words in items])
    bulk = wordllama_tokenizer.encode_items(items)
    for row in range(len(items)):
        alone = wordllama_tokenizer.encode_items(items[row : row + 1])
        assert alone.codes[0].tolist() == bulk.codes[row].tolist()
        assert alone.vectors[0].tobytes() == bulk.vectors[row].tobytes()
        assert alone.scales[0].tobytes() == bulk.scales[row].tobytes()


def test_encoded_items_have_the_promised_form(wordllama_tokenizer, catalogue):
    encoded = wordllama_tokenizer.encode_items(catalogue[0])
    assert (encoded.codes.dtype, encoded.vectors.dtype, encoded.scales.dtype) == (np.int32, np.int8, np.float32)
    assert encoded.codes.shape == (60, wordllama_tokenizer.num_levels)
    assert encoded.vectors.shape == (60, wordllama_tokenizer.vector_dim)
    assert (encoded.codes < np.array(wordllama_tokenizer.codebook_sizes)).all()
    restored = encoded.vectors * encoded.scales[:, None]
    assert np.linalg.norm(restored, axis=1) == pytest.approx(1.0, abs=0.02)
    none = wordllama_tokenizer.encode_items([])
    assert none.codes.shape == (0, 3)
    assert none.vectors.shape == (0, 32)


def test_listening_and_words_both_decide_codes(wordllama_tokenizer, catalogue):
    first = wordllama_tokenizer.encode_items(catalogue[0]).codes[:, 0]
    genres = np.arange(60) % 3
    # Listeners stay within a genre, so no first code may hold two genres.
    assert all(len(set(genres[first == code])) == 1 for code in set(first.tolist()))
    new = wordllama_tokenizer.encode_items(text_items(["new"], ["detective in court, a crime case"])).codes[0, 0]
    assert set(genres[first == new]) == {2}


def test_version_names_everything_that_decides_a_code(catalogue, encoder):
    tokenizer = fit(*catalogue, encoder).tokenizer
    assert len(tokenizer.version) == 12
    assert fit(*catalogue, encoder).version == tokenizer.version
    others = {fit(*catalogue, encoder, seed=1).version, tokenizer.version}
    for name, array in tokenizer.arrays().items():
        changed = {**tokenizer.arrays(), name: array.copy()}
        flat = changed[name].reshape(-1)
        flat[-1] = flat[-1] + flat.dtype.type(1 if name in {"keys", "collaborative"} else 2**-14)
        others.add(rebuild(tokenizer, changed).version)
    others.add(rebuild(tokenizer, tokenizer.arrays(), content_share=0.25).version)
    others.add(rebuild(tokenizer, tokenizer.arrays(), encoder_fingerprint="other").version)
    others.add(rebuild(tokenizer, tokenizer.arrays(), encoder_name="other").version)
    assert len(others) == 2 + len(tokenizer.arrays()) + 3
    assert rebuild(tokenizer, tokenizer.arrays()).version == tokenizer.version


def rebuild(tokenizer, arrays, **changes):
    known = {
        "content_share": tokenizer.representation.content_share,
        "encoder_name": tokenizer.encoder_name,
        "encoder_fingerprint": tokenizer.encoder_fingerprint,
    }
    return Tokenizer.from_arrays(arrays, **{**known, **changes})


def test_parts_that_do_not_fit_are_refused(catalogue, encoder):
    bundle = fit(*catalogue, encoder)
    arrays = bundle.tokenizer.arrays()
    with pytest.raises(TokenizerError, match="'ridge' is missing"):
        rebuild(bundle.tokenizer, {name: array for name, array in arrays.items() if name != "ridge"})
    with pytest.raises(TokenizerError, match="at least one codebook"):
        rebuild(bundle.tokenizer, {name: array for name, array in arrays.items() if "codebook" not in name})
    with pytest.raises(TokenizerError, match="representation: ridge has shape"):
        rebuild(bundle.tokenizer, {**arrays, "ridge": arrays["ridge"][1:]})
    with pytest.raises(TokenizerError, match="not on the grid that makes sums exact"):
        rebuild(bundle.tokenizer, {**arrays, "projection": arrays["projection"] / 3})
    with pytest.raises(TokenizerError, match="ascending keys"):
        rebuild(bundle.tokenizer, {**arrays, "keys": arrays["keys"][::-1].copy()})
    with pytest.raises(TokenizerError, match="gives 31 dimensions, its codebooks take 32"):
        rebuild(bundle.tokenizer, {**arrays, "projection": arrays["projection"][:, 1:]})
    with pytest.raises(TokenizerError, match=r"was fitted with encoder word-hash .* install that encoder"):
        CatalogTokenizer(bundle.tokenizer, type(encoder)(dim=48, seed=1))
    with pytest.raises(TokenizerError, match="got 1 items and 2 texts"):
        text_items(["a"], ["b", "c"])


@pytest.mark.parametrize("num_items", [1, 3])
@pytest.mark.parametrize("heard", [False, True])
def test_a_catalogue_of_one_or_three_items_is_defined(encoder, num_items, heard):
    item_ids = [f"item-{index}" for index in range(num_items)]
    sequences = [np.arange(num_items)] if heard else []
    items = text_items(item_ids, WORDS[:num_items])
    bundle = fit(items, sequences, encoder, TokenizerSettings())
    codes = bundle.encode_items(items).codes
    assert len(np.unique(codes, axis=0)) == num_items
    assert bundle.num_levels == 3
    assert bundle.encode_items(text_items(["new", "newer"], ["", "goal"])).codes.shape == (2, 3)


def test_items_without_any_words_are_defined(encoder):
    bundle = fit(text_items(["a", "b"], ["", ""]), [], encoder)
    assert bundle.encode_items(text_items(["a", "b", "c"], ["", "", "goal"])).codes.shape == (3, 3)


@pytest.mark.parametrize("items", [[], text_items(["a", "a"], ["b", "c"])])
def test_fit_refuses_a_bad_catalogue(encoder, items):
    with pytest.raises(TokenizerError, match="check the catalogue"):
        fit(items, [], encoder)


def test_report_counts_sids(catalogue, encoder):
    bundle = fit(*catalogue, encoder)
    codes = bundle.encode_items(catalogue[0]).codes
    codes[:3] = codes[0]
    report = report_sids(bundle.tokenizer, codes)
    assert report.num_items == 60
    assert report.num_heard == 57
    assert report.distinct_sids == len({tuple(row) for row in codes.tolist()})
    assert report.largest_bucket >= 3
    assert report.shared_items >= 3
    assert report.codes_used == tuple(len(set(column)) for column in codes.T.tolist())
    assert all(1.0 <= spread <= used for spread, used in zip(report.perplexity, report.codes_used, strict=True))
    assert dataclasses.asdict(report)["num_items"] == 60


def test_settings_refuse_halves_that_do_not_fit():
    with pytest.raises(ValueError, match="collaborative_dim must be below vector_dim, got 128 and 128"):
        TokenizerSettings(collaborative_dim=128)
