import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidestream.tokenizer.sid import MAX_CODEBOOK_SIZE, MAX_LEVELS, format_sid, item_key, item_keys

codes = st.lists(st.integers(0, MAX_CODEBOOK_SIZE - 1), min_size=1, max_size=MAX_LEVELS).map(tuple)


@given(codes)
def test_sid_is_printed_as_its_codes_joined_by_dashes(sid):
    assert tuple(int(code) for code in format_sid(sid).split("-")) == sid


def test_sid_prints_numpy_codes_plainly():
    assert format_sid(np.array([13, 65, 188], dtype=np.int32)) == "13-65-188"


@given(st.text(max_size=40))
def test_item_key_is_blake2b_little_endian(item_id):
    expected = int(np.frombuffer(hashlib.blake2b(item_id.encode(), digest_size=8).digest(), "<u8")[0])
    assert item_key(item_id) == expected


def test_item_key_is_pinned():
    # Bytes on disk and in Kafka hold these keys: a change here is a change of layout.
    assert item_key("episode-1") == 0x70FFD5CE5D3C7A2D
    assert item_keys(["a", "\ud800", ""]).tolist() == [item_key("a"), item_key("\ud800"), item_key("")]
    assert item_keys([]).shape == (0,)
