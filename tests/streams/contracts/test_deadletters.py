"""Dead letters keep the original record and say what was wrong."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts import deadletters
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.topics import DEAD_LETTER_MAX_BYTES
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients


def record(key: bytes | None, value: bytes | None, headers=()) -> SimpleNamespace:
    return SimpleNamespace(
        topic="listen-events.v1", partition=3, offset=1042, timestamp=5, key=key, value=value, headers=headers
    )


def test_dead_letter_has_source_and_reason() -> None:
    with pytest.raises(BadRecord) as caught:
        decode_listen(b"k", b"\xff", 5)
    letter = dead_letter(record(b"k", b"\xff", [("traceparent", b"00-1"), ("empty", None)]), caught.value)
    assert (letter.topic, letter.key, letter.value) == ("listen-events.v1.dlq", b"k", b"\xff")
    assert letter.headers[:2] == [("traceparent", b"00-1"), ("empty", b"")]
    headers = dict(letter.headers)
    assert headers["__streams.errors.topic"] == b"listen-events.v1"
    assert headers["__streams.errors.partition"] == b"3"
    assert headers["__streams.errors.offset"] == b"1042"
    assert headers["__streams.errors.timestamp"] == b"5"
    assert headers["__streams.errors.exception"] == b"BadRecord"
    assert headers["__streams.errors.reason"] == b"not_json"
    assert headers["__streams.errors.message"].startswith(b"not_json: ")


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.binary()), max_size=4),
)
def test_dead_letter_keeps_bytes_and_headers(key, value, headers) -> None:
    letter = dead_letter(record(key, value, headers), BadRecord("bad_value", "lone \ud800 surrogate"))
    assert (letter.key, letter.value) == (key, b"" if key is None and value is None else value)
    assert letter.headers[: len(headers)] == headers


@pytest.mark.broker
async def test_the_largest_record_fits_on_its_dead_letter_topic(kafka: RunningBroker, make_topics) -> None:
    topics, clients = make_topics(), Clients(kafka.kafka)
    source, target = topics.listens.name, topics.listens.dead_letters
    producer, consumer = clients.async_producer(), clients.async_consumer(source, target)
    await producer.start()
    await consumer.start()
    try:
        value = b"x" * (1_048_588 - 200)  # what a broker accepts by default, less the record's own header
        await producer.send_and_wait(source, value, key=b"k", headers=[("h", b"1")])
        bad = await asyncio.wait_for(consumer.getone(), 30)
        letter = dead_letter(bad, BadRecord("oversize", "too large"))
        await producer.send_and_wait(letter.topic, letter.value, key=letter.key, headers=letter.headers)
        found = await asyncio.wait_for(consumer.getone(), 30)
        assert (found.topic, found.key, found.value) == (target, b"k", value)
        assert list(found.headers) == letter.headers
    finally:
        await consumer.stop()
        await producer.stop()


def test_dead_letter_truncates_only_what_no_broker_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadletters, "MAX_DEAD_VALUE_BYTES", 10)
    whole = dead_letter(record(b"k", b"x" * 10), BadRecord("oversize", ""))
    cut = dead_letter(record(b"k", b"x" * 11), BadRecord("oversize", ""))
    assert whole.value == b"x" * 10
    assert deadletters.CUT_HEADER not in dict(whole.headers)
    assert cut.value == b"x" * 10
    assert dict(cut.headers)[deadletters.CUT_HEADER] == b"11"


def test_a_record_with_neither_key_nor_value_can_be_dead_lettered() -> None:
    # Clients refuse to send one; a lane that cannot dead-letter it would never get past it.
    letter = dead_letter(record(None, None), BadRecord("null_value", ""))
    assert (letter.key, letter.value) == (None, b"")
    assert dict(letter.headers)[deadletters.NULL_VALUE_HEADER] == b"1"
    assert deadletters.NULL_VALUE_HEADER not in dict(dead_letter(record(None, b""), BadRecord("not_json", "")).headers)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k" * 3_000_000, b"v" * 3_000_000, []),
        (b"k", b"v" * 1_048_576, [("h", b"x" * 900_000), ("small", b"1"), ("i" * 900_000, b"")]),
        (b"k" * 2_000_000, None, [(f"h{n}", b"x" * 100) for n in range(2_000)]),
    ],
)
def test_any_record_that_fits_compressed_fits_on_its_dead_letter_topic(key, value, headers) -> None:
    letter = dead_letter(record(key, value, headers), BadRecord("oversize", "x" * 400))
    size = len(letter.key) + len(letter.value or b"") + sum(len(name) + len(text) + 10 for name, text in letter.headers)
    assert size < DEAD_LETTER_MAX_BYTES - 50_000
    cut = {name for name, _ in letter.headers} & {
        deadletters.CUT_HEADER,
        deadletters.CUT_KEY_HEADER,
        deadletters.CUT_HEADERS_HEADER,
    }
    assert cut
    if ("small", b"1") in headers:
        assert ("small", b"1") in letter.headers


@pytest.mark.parametrize("value", [b"{bad", b"v" * 1_048_576])
@pytest.mark.parametrize("header", [("h", b""), ("name", b"value of a header")])
def test_of_too_many_headers_the_first_ones_are_kept(value, header) -> None:
    """120,000 headers took two minutes, in which the worker did nothing else."""
    letter = dead_letter(record(b"k", value, [header] * 120_000), BadRecord("not_json", ""))
    names = [name for name, _ in letter.headers]
    num_kept = names.index(deadletters.TOPIC_HEADER)
    assert letter.headers[:num_kept] == [header] * num_kept
    assert 1_000 < num_kept <= deadletters.MAX_DEAD_HEADERS
    assert dict(letter.headers)[deadletters.CUT_HEADERS_HEADER] == b"120000"
    assert letter.value == value


def test_headers_up_to_the_limit_are_kept() -> None:
    headers = [(f"h{number}", b"1") for number in range(deadletters.MAX_DEAD_HEADERS)]
    letter = dead_letter(record(b"k", b"{bad", headers), BadRecord("not_json", ""))
    assert letter.headers[: len(headers)] == headers
    assert deadletters.CUT_HEADERS_HEADER not in dict(letter.headers)
