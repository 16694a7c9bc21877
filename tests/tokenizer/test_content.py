import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.content import MAX_TEXT_CHARS, ContentEncoder, WordLlamaEncoder, clean_text, item_text
from sidestream.tokenizer.errors import TokenizerError

any_text = st.text(st.characters(), max_size=80)


@given(st.text(st.characters(), max_size=300), st.integers(1, 200))
def test_clean_text_is_idempotent_and_bounded(text, max_chars):
    cleaned = clean_text(text, max_chars)
    assert clean_text(cleaned, max_chars) == cleaned
    assert len(cleaned) <= max_chars
    assert unicodedata.is_normalized("NFKC", cleaned)
    cleaned.encode()


@given(
    st.text(st.sampled_from("ab é\u00a0\u00ad\u2003\u200b\x1f\x85\n\ufb01\ue000日"), max_size=12), st.integers(1, 12)
)
def test_a_text_that_needs_no_cleaning_is_detected(text, max_chars):
    head = unicodedata.normalize("NFKC", text[:max_chars])
    spaced = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", head)
    assert clean_text(text, max_chars) == spaced.strip()[:max_chars].rstrip()


def test_clean_text_examples():
    assert clean_text("  Rain\x00 on\n\ta\u2028tin   roof ") == "Rain on a tin roof"
    assert clean_text("ﬁeld \ud800 ｒadio") == "field ? radio"


def test_item_text_orders_fields_and_leaves_out_empty_ones():
    text = item_text(
        "Rain", creator="Maya", show=None, tags=["sleep", "", " calm "], kind="episode", description="An\nhour."
    )
    assert text == "Rain. Maya. sleep, calm. episode. An hour."
    assert item_text("") == ""


def test_item_text_keeps_the_names_before_a_description_of_a_megabyte():
    text = item_text("Title " + "t" * 10**6, creator="Creator", tags=["tag"] * 10**5, description="word " * 200_000)
    assert len(text) <= MAX_TEXT_CHARS
    assert "Creator" in text
    assert text.count("tag") == 32
    assert text.endswith("word")


def test_wordllama_is_a_content_encoder(wordllama):
    assert isinstance(wordllama, ContentEncoder)
    assert wordllama.encode([]).shape == (0, 256)
    vectors = wordllama.encode(["rain on a tin roof", "rainfall and thunder", "quarterly tax law"])
    assert vectors.shape == (3, 256)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.one_of(any_text, st.text("ab cé日", max_size=2000)), min_size=1, max_size=12))
def test_wordllama_gives_the_same_bits_alone_and_in_bulk(wordllama, texts):
    bulk = wordllama.encode(texts)
    alone = np.concatenate([wordllama.encode([text]) for text in texts])
    assert np.array_equal(bulk, alone)
    assert np.isfinite(bulk).all()


def test_wordllama_takes_unusual_texts(wordllama):
    texts = [
        "",
        " \x00 ",
        "ポッドキャスト 日本語",
        "подкаст о дожде",
        "مطر",
        "🎧🎧",
        "\ud800",
        "x" * 2**20,
        "word " * 2**18,
    ]
    vectors = wordllama.encode(texts)
    assert not vectors[:2].any()
    assert vectors[2:].any(axis=1).all()
    assert len(np.unique(vectors[2:], axis=0)) == len(texts) - 2


def test_wordllama_fingerprint_needs_no_loading_and_covers_the_files(monkeypatch, tmp_path):
    known = WordLlamaEncoder()
    assert known.fingerprint == WordLlamaEncoder().fingerprint
    assert known._loaded is None
    for name in WordLlamaEncoder._FILES:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"other")
    monkeypatch.setattr(WordLlamaEncoder, "_package_folder", staticmethod(lambda: tmp_path))
    assert WordLlamaEncoder().fingerprint != known.fingerprint
    (tmp_path / WordLlamaEncoder._FILES[0]).unlink()
    with pytest.raises(TokenizerError, match="install wordllama again"):
        _ = WordLlamaEncoder().fingerprint


def test_wordllama_missing_says_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TokenizerError, match="not installed; install it, or give another"):
        WordLlamaEncoder().encode(["a"])


def test_encoding_imports_no_torch_and_leaves_logging_alone():
    code = (
        "import logging, sys; import sidestream.tokenizer.artifact;"
        "from sidestream.tokenizer.content import WordLlamaEncoder;"
        "assert 'wordllama' not in sys.modules;"
        "WordLlamaEncoder().encode(['rain']); root = logging.getLogger();"
        "assert 'torch' not in sys.modules; assert not root.handlers; assert root.level == logging.WARNING"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
