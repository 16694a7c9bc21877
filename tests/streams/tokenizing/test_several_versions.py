import numpy as np
import pytest

from sidestream.models.records import CatalogItem
from sidestream.streams.errors import TokenizerError
from sidestream.streams.tokenizing.values import MultiVersionTokenizer, item_sids


class Encoded:
    def __init__(self, codes):
        self.codes = codes
        self.vectors = codes.astype(np.int8)
        self.scales = np.ones(len(codes), np.float32)


class Encoder:
    def __init__(self, version, refuses=()):
        self.version, self.refuses, self.calls = version, refuses, 0

    def encode_items(self, items):
        self.calls += 1
        texts = [item.text for item in items]
        if bad := {item.item_id for item in items} & set(self.refuses):
            raise TokenizerError(f"{bad} has no SID")
        return Encoded(np.array([[len(self.version), len(text)] for text in texts], np.int32))


def items(*ids):
    return [CatalogItem(item_id=item_id, kind="track", title=item_id * 3, at=1_700_000_000_000) for item_id in ids]


def test_a_value_has_the_sids_of_each_version_alone():
    a, bb = Encoder("a"), Encoder("bb")
    some = items("x", "yy")
    together = MultiVersionTokenizer([a, bb], None)(some, [5, 6])
    for place, value in enumerate(together):
        alone = [item_sids(encoder, some, [5, 6])[place] for encoder in (a, bb)]
        assert value.versions == {**alone[0].versions, **alone[1].versions}
        assert value.model_copy(update={"versions": alone[0].versions}) == alone[0]
    assert MultiVersionTokenizer([a, bb], None).versions == ("a", "bb")
    assert MultiVersionTokenizer([a], None)([], []) == []


def test_an_item_that_another_version_rejects_has_no_sid_under_it():
    left_out = []
    encoder = MultiVersionTokenizer([Encoder("a"), Encoder("bb", refuses="y")], lambda *what: left_out.append(what))
    values = encoder(items("x", "y", "z"), [1, 2, 3])
    assert [set(value.versions) for value in values] == [{"a", "bb"}, {"a"}, {"a", "bb"}]
    assert left_out == [("bb", "y")]


def test_an_item_that_the_serving_version_rejects_is_rejected():
    encoder = MultiVersionTokenizer([Encoder("a", refuses="y"), Encoder("bb")], None)
    with pytest.raises(TokenizerError, match="no SID"):
        encoder(items("x", "y"), [1, 2])
