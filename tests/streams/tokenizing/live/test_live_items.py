"""Live items in the catalogue agent, with the shipped tokenizer."""

import base64
import json
from dataclasses import replace

import pytest

from sidestream.models.data.texts import content_of
from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.tokenizing.live_codebooks import live_codebooks
from sidestream.streams.tokenizing.values import item_sids
from sidestream.tokenizer.tokenizer import CatalogTokenizer
from tests.bench.support.live_worker import AT, SIDS, STATES, TOPICS, LiveWorker, Log, item, record, segment, sids

JAZZ, TECHNO = "brushed drums, muted trumpet and smoky piano", "acid lines, modular bleeps and metallic hats"


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def make(tokenizer, tmp_path, log):
    return lambda **options: LiveWorker([tokenizer], tmp_path, log, **options)


async def test_a_new_subject_gives_another_sid_with_the_next_revision(make, log, tokenizer):
    worker = make()
    await worker.take([item(0), *(segment(n, JAZZ) for n in range(20))])
    before = len(sids(log))
    await worker.take([segment(n, TECHNO) for n in range(20, 26)])
    values = sids(log)
    assert len(values) > before
    assert [value.revision for value in values] == [None, *range(1, len(values))]
    assert {value.source_offset for value in values} == {0}
    assert values[-1].versions[tokenizer.version].sid != values[before - 1].versions[tokenizer.version].sid
    assert worker.metrics.live_retokenized._value.get() == len(values) - 1
    assert values[-1].title == "Live: a late jazz trio"


async def test_a_new_live_item_gets_the_sid_of_its_words_and_others_are_unchanged(make, log, tokenizer):
    worker = make()
    await worker.take([item(0), item(1, "track", kind="track")])
    fields = {"item_id": "live", "kind": "live", "title": "Live: a late jazz trio", "at": AT}
    encoded = tokenizer.encode_items([content_of(CatalogItem(**fields))])
    (value,) = sids(log)
    tokenized = value.versions[tokenizer.version]
    assert tokenized.sid == tuple(encoded.codes[0].tolist())
    assert base64.b64decode(tokenized.vector) == encoded.vectors[0].tobytes()
    assert list(log.of(STATES)) == [b"live"]
    assert len(sids(log, "track")) == 1


async def test_states_are_written_before_values(make, log):
    await make().take([item(0), segment(0, JAZZ)])
    assert next(topic for topic, *_ in log.written) == STATES
    assert [topic for topic, *_ in log.written].count(STATES) == 1


@pytest.mark.parametrize(
    "gone", [lambda: item(1, kind="episode"), lambda: record(TOPICS.catalog_items, 1, "live", None)]
)
async def test_a_removed_or_no_longer_live_item_loses_its_state_for_good(make, log, gone):
    worker = make()
    await worker.take([item(0), *(segment(n, JAZZ) for n in range(6))])
    await worker.take([gone(), *(segment(n, TECHNO) for n in range(6, 20))])
    assert worker.state() is None
    assert log.of(STATES) == {}
    assert log.written[-1][0] == SIDS
    assert log.written[-1] == (SIDS, b"live", log.of(SIDS).get(b"live"))
    assert worker.metrics.live_segments.labels("no_item")._value.get() == 14


async def test_an_expired_item_loses_its_state_in_the_next_sweep(make, log):
    worker = make()
    await worker.take([item(0, expires_at=AT + 1_000), item(1, "other"), segment(0, JAZZ)])
    assert worker.items.sweep(AT + 999) == []
    assert worker.metrics.live_items._value.get() == 2
    assert worker.items.sweep(AT + 1_000) == [(STATES, b"live", None, [])]
    assert worker.state() is None
    assert worker.metrics.live_items._value.get() == 1
    assert worker.metrics.live_ended.labels("expired")._value.get() == 1


async def test_changes_of_the_last_hour_are_a_metric(make):
    worker = make()
    await worker.take([item(0), *(segment(n, JAZZ if n < 20 else TECHNO) for n in range(30))])
    worker.items.sweep(AT + 200_000)
    assert worker.metrics.live_changes_last_hour._value.get() == worker.state().num_changes > 1
    worker.items.sweep(AT + 2 * 3_600_000)
    assert worker.metrics.live_changes_last_hour._value.get() == 0


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"start_ms": 9_000, "end_ms": 4_000}, "bad_value", "empty span"),
        ({"start_ms": 4_000, "end_ms": 4_000}, "bad_value", "empty span"),
        ({"start_ms": 0, "end_ms": 600_001}, "bad_value", "long span"),
        ({"text": " \n "}, "bad_value", "empty text"),
        ({"field": "weather"}, "bad_value", "unknown field"),
        ({"start_ms": -1}, "bad_value", "start_ms"),
        ({"end_ms": "5000"}, "wrong_type", "end_ms"),
        ({"at": AT + 10_000_000}, "absurd_time", "at"),
        ({"item_id": "other"}, "key_mismatch", "item_id"),
    ],
)
async def test_a_malformed_segment_becomes_a_dead_letter_with_its_reason(make, log, fields, reason, detail):
    worker = make()
    bad = segment(0, JAZZ)
    bad = record(TOPICS.live_segments, 0, "live", json.loads(bad.value) | fields, bad.timestamp)
    outgoing = worker.agent._make_records([item(0), bad, segment(1, JAZZ)])
    letters = [(key, value, dict(headers)) for topic, key, value, headers in outgoing if topic.endswith(".dlq")]
    ((key, value, headers),) = letters
    assert (key, value) == (b"live", bad.value)
    assert headers["__streams.errors.reason"] == reason.encode()
    assert detail.encode() in headers["__streams.errors.message"]
    assert worker.metrics.dead_letters.labels("live-segments.v1", reason)._value.get() == 1
    assert worker.state().segments_offset == 1


async def test_malformed_listeners_become_a_dead_letter(make):
    value = {"item_id": "live", "at": AT, "partition": 0, "since": 0, "offset": 0}
    bad = value | {"means": {"0123456789ab": {"vector": "?", "vector_scale": 1.0, "weight": 1.0}}}
    outgoing = make().agent._make_records([item(0), record(TOPICS.live_listeners, 0, "live", bad)])
    assert [topic for topic, *_ in outgoing][-1] == "live-listeners.v1.dlq"


async def test_an_agent_killed_before_any_write_recovers_to_the_same_result(make, log, tokenizer, tmp_path):
    """Killed before every single write, with its whole batch and the previous one redelivered."""
    batches = [
        [item(0), item(1, "second", title="Live: a modular synth jam"), *(segment(n, JAZZ) for n in range(8))],
        [*(segment(n, TECHNO) for n in range(8, 14)), segment(14, TECHNO, "second"), item(2, title="Renamed")],
        [segment(15, JAZZ, "second"), *(segment(n, TECHNO) for n in range(16, 20))],
        [*(segment(n, JAZZ) for n in range(20, 26)), record(TOPICS.catalog_items, 3, "second", None)],
    ]
    whole = LiveWorker([tokenizer], tmp_path, log)
    for batch in batches:
        assert await whole.take(batch)
    for number, batch in enumerate(batches):
        for writes in range(40):
            other = Log()
            worker = LiveWorker([tokenizer], tmp_path, other)
            for before in batches[:number]:
                await worker.take(before)
            worker.producer.left = writes
            survived = await worker.take(batch)
            restarted = LiveWorker([tokenizer], tmp_path, other)
            for again in batches[max(0, number - 1) :]:
                assert await restarted.take(again)
            assert other.latest == log.latest, (number, writes)
            # Values superseded within a batch may be missing after a crash; no other value was ever published.
            assert set(_changes(other)) <= set(_changes(log)), (number, writes)
            assert _changes(other)[-1] == _changes(log)[-1], (number, writes)
            if survived:
                break
        else:
            pytest.fail("a batch of more than 40 writes")


async def test_another_tokenizer_uses_the_window_at_once_and_leaves_no_trace(make, log, tokenizer):
    levels = replace(tokenizer.tokenizer.levels, beam_size=4)
    other = CatalogTokenizer(replace(tokenizer.tokenizer, levels=levels), tokenizer.encoder)
    assert other.version != tokenizer.version
    worker = make()
    event = item(0)
    await worker.take([event, *(segment(n, TECHNO) for n in range(20))])
    before = sids(log)[-1]

    async def rewrite(*encoders):
        worker.items.set_codebooks(live_codebooks(encoders))
        values = [item_sids(one, [CatalogItem.from_json(event.value)], [0])[0] for one in encoders]
        versions = {version: made for value in values for version, made in value.versions.items()}
        value = values[0].model_copy(update={"versions": versions})
        made = worker.items.apply(
            [event], [(SIDS, b"live", value.to_json(), [])], worker.agent.record_maker.to_dead_letter
        )
        await worker.agent.sender.send(made, worker.agent.epoch)
        return versions

    plain = await rewrite(tokenizer, other)
    both = sids(log)[-1]
    assert both.versions[tokenizer.version] == before.versions[tokenizer.version]
    assert both.versions[other.version] == plain[other.version]
    assert both.revision == before.revision + 1
    await worker.take([segment(20, TECHNO)])
    moved = sids(log)[-1]
    assert moved.versions[tokenizer.version] == before.versions[tokenizer.version]
    assert moved.versions[other.version] != plain[other.version]
    assert moved.revision == both.revision + 1
    await rewrite(other)
    assert sids(log)[-1].versions == {other.version: moved.versions[other.version]}


async def test_drift_counts_a_live_item_once_by_its_own_words(make, log, tokenizer):
    worker, arrivals = make(), []
    worker.agent.record_maker.on_values = arrivals.extend
    await worker.take([item(0), *(segment(n, JAZZ if n < 20 else TECHNO) for n in range(30))])
    assert worker.state().num_changes > 1
    (value,) = arrivals
    fields = {"item_id": "live", "kind": "live", "title": "Live: a late jazz trio", "at": AT}
    own = tokenizer.encode_items([content_of(CatalogItem(**fields))])
    assert value.versions[tokenizer.version].sid == tuple(own.codes[0].tolist())
    assert sids(log)[-1].versions[tokenizer.version].sid != value.versions[tokenizer.version].sid


def _changes(log):
    """The values of the live item that a reader sees, ordered by offset and revision."""
    seen, newest = [], (-1, 0)
    for topic, key, value in log.written:
        if topic == SIDS and key == b"live":
            order = (found := ItemSids.from_json(value)).source_offset, found.revision or 0
            if order > newest:
                newest = order
                seen.append(value)
    return seen
