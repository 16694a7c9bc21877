import base64
from dataclasses import dataclass

import numpy as np
import pytest

from sidestream.models.data.texts import content_of, text_of
from sidestream.models.records import CatalogItem
from sidestream.streams.errors import TokenizerError
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.tokenizing.values import item_sids

AT = 1_700_000_000_000


@dataclass
class Encoded:
    codes: np.ndarray
    vectors: np.ndarray
    scales: np.ndarray


class FakeEncoder:
    version = "00112233aabb"

    def __init__(self):
        self.calls = []

    def encode_items(self, items):
        self.calls.append(list(items))
        item_ids, texts = [item.item_id for item in items], [item.text for item in items]
        if "poison" in item_ids:
            msg = "cannot be encoded"
            raise TokenizerError(msg)
        if "odd" in item_ids:
            msg = "cannot be converted"
            raise ValueError(msg)
        n = len(item_ids)
        return Encoded(
            codes=np.array([[len(text) % 256, 7] for text in texts], np.int32).reshape(n, 2),
            vectors=np.arange(n * 3, dtype=np.int8).reshape(n, 3),
            scales=np.full(n, 0.25, np.float32),
        )


def item(item_id, **fields):
    return CatalogItem(**{"item_id": item_id, "kind": "episode", "title": "T", "at": AT, **fields})


def test_values_have_facts_offset_and_the_tokenizers_result():
    encoder = FakeEncoder()
    one = item(
        "a", creator="C", show="S", tags=("x",), market=("de",), explicit=True, expires_at=AT + 9, description="d"
    )
    (value,) = item_sids(encoder, [one], [42])
    assert value.source_offset == 42
    assert (value.creator, value.show, value.tags, value.market) == ("C", "S", ("x",), ("de",))
    assert (value.explicit, value.expires_at, value.kind, value.title) == (True, AT + 9, "episode", "T")
    tokenized = value.versions[encoder.version]
    assert tokenized.sid == (len(text_of(one)) % 256, 7)
    assert base64.b64decode(tokenized.vector) == bytes([0, 1, 2])
    assert tokenized.vector_scale == 0.25
    assert encoder.calls == [[content_of(one)]]


def test_many_items_are_one_call():
    encoder = FakeEncoder()
    values = item_sids(encoder, [item("a"), item("b")], [1, 2])
    assert [(value.item_id, value.source_offset) for value in values] == [("a", 1), ("b", 2)]
    assert len(encoder.calls) == 1
    assert item_sids(encoder, [], []) == []


def test_the_text_names_all_that_describes_an_item():
    text = text_of(item("a", title="Rain", creator="Ann", show="Weather", tags=("calm",), description="drops"))
    assert all(word in text for word in ("Rain", "Ann", "Weather", "calm", "drops", "episode"))


def test_an_item_that_cannot_be_encoded_raises():
    with pytest.raises(TokenizerError):
        item_sids(FakeEncoder(), [item("poison")], [0])


def test_an_item_without_a_publication_time_gets_that_of_its_event():
    silent, dated = item_sids(FakeEncoder(), [item("a", at=AT + 5), item("b", at=AT + 5, published_at=AT + 3)], [1, 2])
    assert (silent.published_at, dated.published_at) == (AT + 5, AT + 3)


def test_several_sids_are_assigned_only_if_the_settings_allow_them():
    class Several(FakeEncoder):
        def additional_sids(self, encoded, max_sids, margin):
            assert (len(encoded.codes), max_sids, margin) == (2, 3, 0.5)
            return [((1, 2), (3, 4)), ()]

    chosen = AgentSettings(max_sids=3, sid_margin=0.5)
    encoder, items = Several(), [item("a"), item("b")]
    several, alone = (value.versions[encoder.version] for value in item_sids(encoder, items, [0, 1], chosen))
    assert several.more_sids == ((1, 2), (3, 4))
    assert alone.more_sids is None
    assert item_sids(encoder, items, [0, 1])[0].versions[encoder.version].more_sids is None
    assert item_sids(FakeEncoder(), items, [0, 1], AgentSettings())[1] == item_sids(encoder, items, [0, 1])[1]
    # A reader of before finds the same value, with a field that it does not know.
    assert b"more_sids" not in alone.to_json()
