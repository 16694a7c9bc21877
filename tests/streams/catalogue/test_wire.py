"""The reader's structs and the tokenizer's model have the same schema."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sidestream.models.records import ItemSids, TokenizedItem
from sidestream.streams.catalogue.wire import ItemSidsRow, TokenizedRow, decode_item_sids

ids = st.text(min_size=1, max_size=256)
texts = st.none() | st.text(max_size=30)
times = st.none() | st.integers(0, 4_102_444_800_000)
tokenized = st.builds(
    TokenizedItem,
    sid=st.lists(st.integers(0, 65_535), min_size=1, max_size=5).map(tuple),
    vector=st.binary(max_size=9).map(lambda components: base64.b64encode(components).decode()),
    vector_scale=st.floats(0, 1e30),
    schema_version=st.integers(1, 3),
)


@given(
    st.builds(
        ItemSids,
        item_id=ids,
        kind=st.sampled_from(["track", "episode", "audiobook", "live"]),
        source_offset=st.integers(-1, 2**63 - 1),
        revision=st.none() | st.integers(0, 2**20 - 1),
        versions=st.dictionaries(st.text(max_size=12), tokenized, min_size=1, max_size=3),
        title=st.text(max_size=30),
        creator=texts,
        show=texts,
        tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        language=texts,
        market=st.lists(st.text(max_size=3), max_size=3).map(tuple),
        explicit=st.booleans(),
        published_at=times,
        expires_at=times,
        schema_version=st.integers(1, 9),
    )
)
def test_reader_reads_every_value_that_the_model_writes(item):
    row = msgspec.structs.asdict(decode_item_sids(item.to_json()))
    row["versions"] = {
        version: {**msgspec.structs.asdict(one), "vector": base64.b64encode(one.vector).decode()}
        for version, one in row["versions"].items()
    }
    assert row == item.model_dump()


@pytest.mark.parametrize(("struct", "model"), [(TokenizedRow, TokenizedItem), (ItemSidsRow, ItemSids)])
def test_structs_have_the_fields_of_the_models(struct, model):
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert set(fields) == set(model.model_fields)
    for name, field in model.model_fields.items():
        assert fields[name].required == field.is_required(), name
        assert field.is_required() or fields[name].default == field.default, name


GOOD = {
    "item_id": "a",
    "kind": "track",
    "source_offset": 0,
    "versions": {"v": {"sid": [1], "vector": "AQ==", "vector_scale": 1.0}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": ""},
        {"item_id": "x" * 257},
        {"kind": "film"},
        {"source_offset": -2},
        {"source_offset": 2**63},
        {"revision": 2**20},
        {"versions": {}},
        {"versions": {"v": {"sid": [], "vector": "", "vector_scale": 1}}},
        {"versions": {"v": {"sid": [65_536], "vector": "", "vector_scale": 1}}},
        {"versions": {"v": {"sid": [1], "vector": "", "vector_scale": -0.5}}},
        {"versions": {"v": {"sid": [1], "vector": ""}}},
        {"published_at": 4_102_444_800_001},
        {"expires_at": -1},
        {"schema_version": 0},
        {"market": "SE"},
    ],
)
def test_both_schemas_reject_the_same_values(change):
    value = json.dumps({**GOOD, **change}).encode()
    assert decode_item_sids(json.dumps(GOOD).encode()).item_id == "a"
    with pytest.raises(ValidationError):
        ItemSids.from_json(value)
    with pytest.raises(ValueError):
        decode_item_sids(value)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b'{"x":"\xff"}', json.dumps({**GOOD, "new": "?"}).encode().replace(b"?", b"\xff")]
)
def test_values_that_are_not_utf8_json_are_rejected(value):
    with pytest.raises(ValueError):
        decode_item_sids(value)


def test_unknown_fields_are_ignored():
    deep = b"[" * 10_000 + b"]" * 10_000
    value = json.dumps({**GOOD, "new": 0}).encode()
    assert decode_item_sids(value).source_offset == 0
    with pytest.raises(ValueError):
        decode_item_sids(value.replace(b'"new": 0', b'"new": ' + deep))
