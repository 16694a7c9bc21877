import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.sid import MAX_CODEBOOK_SIZE, MAX_LEVELS, format_sid, item_key, item_keys, parse_sid

codes = st.lists(st.integers(0, MAX_CODEBOOK_SIZE - 1), min_size=1, max_size=MAX_LEVELS).map(tuple)


@given(codes)
def test_sid_reads_back_what_was_printed(sid):
    assert parse_sid(format_sid(sid)) == sid


def test_sid_prints_numpy_codes_plainly():
    assert format_sid(np.array([13, 65, 188], dtype=np.int32)) == "13-65-188"


@pytest.mark.parametrize(
    "text", ["", "-", "1--2", "1-2-", "-1", "+1-2", "1-2.0", "65536", "²", "١", "1 - 2", "-".join("1" * 17)]
)
def test_sid_refuses_other_text(text):
    with pytest.raises(TokenizerError, match="13-65-188"):
        parse_sid(text)


@given(st.text(max_size=40))
def test_item_key_is_blake2b_little_endian(item_id):
    expected = int(np.frombuffer(hashlib.blake2b(item_id.encode(), digest_size=8).digest(), "<u8")[0])
    assert item_key(item_id) == expected


def test_item_key_is_pinned():
    # Bytes on disk and in Kafka hold these keys: a change here is a change of layout.
    assert item_key("episode-1") == 0x70FFD5CE5D3C7A2D
    assert item_keys(["a", "\ud800", ""]).tolist() == [item_key("a"), item_key("\ud800"), item_key("")]
    assert item_keys([]).shape == (0,)
