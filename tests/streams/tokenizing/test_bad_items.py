"""A faulty item becomes a dead letter with a reason, or has a defined result; other items are unaffected."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from sidestream.models.records import ItemSids
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.contracts.deadletters import MESSAGE_HEADER, REASON_HEADER
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.group.faust_app import make_faust_app
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.tokenizer.catalogue import Catalogue
from sidestream.tokenizer.fitting import fit_tokenizer
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.sid import item_key
from sidestream.tokenizer.views import ItemContent

TOPICS = build_topics(TopicSettings())
SIDS, DLQ = TOPICS.item_sids.name, TOPICS.catalog_items.name + ".dlq"
AT = 1_700_000_000_000
COVER = [0.5, -0.25, 1.0]


class LetterEncoder:
    """Counts letters: no weights, no files."""

    name = "letters"
    dim = 26
    fingerprint = hashlib.sha256(b"letters").hexdigest()

    def __init__(self):
        self.batches = []

    def encode(self, texts):
        self.batches.append(len(texts))
        counts = [[text.count(chr(ord("a") + place)) for place in range(26)] for text in texts]
        return np.array(counts, dtype=np.float32).reshape(len(texts), 26)


@pytest.fixture(scope="module")
def tokenizer():
    rng = np.random.default_rng(4)
    items = [
        ItemContent(
            f"old-{number}", "".join(rng.choice(list("abcdefg"), 9)), {"cover": tuple(rng.normal(size=3).tolist())}
        )
        for number in range(40)
    ]
    settings = TokenizerSettings(
        views=("text", "segments", "cover"), vector_dim=16, collaborative_dim=4, codebook_size=8
    )
    return fit_tokenizer(items, [rng.choice(40, 8) for _ in range(30)], LetterEncoder(), settings, rng)


@pytest.fixture
def agent(tmp_path, tokenizer):
    return make_agent(tmp_path, tokenizer)


def make_agent(tmp_path, tokenizer, **limits):
    kafka = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    app = make_faust_app("test", kafka, LaneSettings(), tmp_path, LaneMetrics(Metrics(), "listens"))
    return CatalogAgent(app, kafka, TOPICS, tokenizer, Limits(**limits), AgentSettings(), Metrics(), lambda: 0.0)


def event(offset, item_id, value=None, **fields):
    if value is None:
        value = json.dumps({"item_id": item_id, "kind": "episode", "title": item_id, "at": AT, **fields}).encode()
    names = {"topic": TOPICS.catalog_items.name, "partition": 0, "offset": offset, "timestamp": AT}
    return SimpleNamespace(**names, key=item_id.encode(), value=value, headers=[])


def removal(offset, item_id):
    return SimpleNamespace(**{**vars(event(offset, item_id)), "value": None})


def verdict(agent, bad):
    """Process a bad item between two good ones; return its reason and detail."""
    made = agent._make_records([event(0, "before", views={"cover": COVER}), bad, event(2, "after")])
    assert [(topic, key) for topic, key, *_ in made] == [(SIDS, b"before"), (DLQ, bad.key), (SIDS, b"after")]
    assert made[1][2] == bad.value
    headers = dict(made[1][3])
    return headers[REASON_HEADER].decode(), headers[MESSAGE_HEADER].decode()


def span(start_ms=0, end_ms=1_000, text="a crowd", **fields):
    return {"start_ms": start_ms, "end_ms": end_ms, "text": text, **fields}


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"views": {"cover": [0.0, 0.0, 0.0]}}, "bad_value", "view 'cover': all 3 numbers are zero"),
        ({"views": {"cover": [1.0, 2.0]}}, "bad_value", "view 'cover': wrong size: expected 3 numbers"),
        ({"views": {"cover": []}}, "bad_value", "view 'cover': wrong size"),
        ({"views": {"cover": ["1", 2, 3]}}, "wrong_type", "views.cover.0"),
        ({"views": {"text": [1.0]}}, "bad_value", "view 'text': is reserved for the item's own text"),
        ({"segments": [span(), span(5, 5)]}, "bad_value", "segments[1]: empty span"),
        ({"segments": [span(9, 5)]}, "bad_value", "segments[0]: empty span"),
        ({"segments": [span(-1, 5)]}, "bad_value", "segments.0.start_ms"),
        ({"segments": [span(text="  ")]}, "bad_value", "segments[0]: empty text"),
        ({"segments": [span(field="camera")]}, "bad_value", "segments[0]: unknown field"),
        ({"segments": [span(0, 10), span(9, 20)]}, "bad_value", "segments[1]: overlap"),
        ({"segments": [{"start_ms": 0, "text": "x"}]}, "missing_field", "segments.0.end_ms"),
    ],
)
def test_a_bad_view_is_a_dead_letter_that_names_it(agent, fields, reason, detail):
    got, said = verdict(agent, event(1, "bad", **fields))
    assert got == reason
    assert detail in said


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_dead_letters(agent, number):
    value = event(1, "bad", views={"cover": [1.0, 2.0, 3.0]}).value.replace(b"3.0", number.encode())
    assert verdict(agent, event(1, "bad", value))[0] in {"not_json", "bad_value"}


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_non_finite_vector_makes_a_dead_letter_of_its_item_only(agent, tokenizer, monkeypatch, number):
    encode = tokenizer.encoder.encode

    def broken(texts):
        made = encode(texts)
        made[["poison" in text for text in texts]] = number
        return made

    monkeypatch.setattr(tokenizer.encoder, "encode", broken)
    reason, said = verdict(agent, event(1, "poison"))
    assert reason == "bad_value"
    assert "NaN or infinity" in said


def test_one_bad_item_among_many_costs_few_batches(agent, tokenizer):
    batches = tokenizer.encoder.batches
    batches.clear()
    events = [event(number, f"item-{number}") for number in range(255)]
    made = agent._make_records([*events, event(255, "bad", views={"cover": [0.0] * 3})])
    assert [topic for topic, *_ in made] == [SIDS] * 255 + [DLQ]
    assert len(batches) <= 4 * 8 + 2


def test_empty_text_is_tokenized_and_a_megabyte_depends_on_the_limit(agent, tokenizer, tmp_path):
    empty = event(0, "empty", title="", description="\n \x00")
    (made,) = agent._make_records([empty])
    assert len(ItemSids.from_json(made[2]).versions[tokenizer.version].sid) == 3
    long = event(1, "long", description="a wordy tale " * 80_000)
    assert len(long.value) > 1_000_000
    assert verdict(agent, long)[0] == "oversize"
    roomy = make_agent(tmp_path, tokenizer, max_value_bytes=2 << 20)
    topic, _, value, _ = roomy._make_records([long])[0]
    assert topic == SIDS
    assert len(value) < 1_000
    assert ItemSids.from_json(value).title == "long"


def test_the_same_id_twice_in_a_batch_is_two_values_and_the_later_one_counts(agent, tokenizer):
    events = [event(3, "twin", title="aaaa"), event(4, "other"), event(5, "twin", title="gggg")]
    made = agent._make_records(events)
    assert [key for _, key, *_ in made] == [b"twin", b"other", b"twin"]
    assert [ItemSids.from_json(value).source_offset for _, _, value, _ in made] == [3, 4, 5]
    assert titles(apply_all(tokenizer, made)) == {"twin": "gggg", "other": "other"}
    # Written by a previous owner after the newer value: the offset of the event decides, not the order of arrival.
    assert titles(apply_all(tokenizer, made[::-1])) == {"twin": "gggg", "other": "other"}


def test_an_upsert_older_than_the_stored_one_changes_nothing(agent, tokenizer):
    newer, older = (
        agent._make_records([event(9, "a", title="newer")]),
        agent._make_records([event(2, "a", title="older")]),
    )
    assert titles(apply_all(tokenizer, newer + older)) == {"a": "newer"}


def test_a_tombstone_before_its_item_has_no_effect(agent, tokenizer):
    made = agent._make_records([removal(0, "a"), event(1, "a"), removal(2, "b")])
    assert [(topic, key, value is None) for topic, key, value, _ in made] == [
        (SIDS, b"a", True),
        (SIDS, b"a", False),
        (SIDS, b"b", True),
    ]
    assert titles(apply_all(tokenizer, made)) == {"a": "a"}


def test_reading_a_topic_again_gives_the_same_result(agent, tokenizer):
    events = [
        event(0, "a", title="old"),
        event(1, "b"),
        event(2, "bad", views={"cover": [0.0] * 3}),
        removal(3, "b"),
        event(4, "a", title="new"),
        event(5, "c"),
    ]
    once = agent._make_records(events)
    again = agent._make_records(events)
    assert [made[:3] for made in again] == [made[:3] for made in once]
    assert titles(apply_all(tokenizer, once)) == titles(apply_all(tokenizer, once + again)) == {"a": "new", "c": "c"}


def apply_all(tokenizer, made):
    """A worker's catalogue after these records."""
    decoder = UpdateDecoder(tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim)

    def vectorize(item_ids, codes, x):
        return x.astype(np.float32), np.ones(len(item_ids), np.float32)

    catalogue = Catalogue(
        tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim, vectorize, x_dim=tokenizer.vector_dim
    )
    for topic, key, value, _ in made:
        if topic == SIDS:
            catalogue.apply([decoder.decode(key, value)])
    return catalogue.snapshot()


def titles(snapshot):
    """Titles by id of the items that can be candidates."""
    ids = ("a", "b", "c", "twin", "other", "bad")
    rows = snapshot.row_of_key(np.array([item_key(item_id) for item_id in ids], np.uint64))
    alive = set(snapshot.bucket_rows.tolist())
    return {item_id: snapshot.facts(row).title for item_id, row in zip(ids, rows.tolist(), strict=True) if row in alive}
