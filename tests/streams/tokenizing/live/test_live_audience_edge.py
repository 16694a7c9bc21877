"""The audience of live items, from the batches of the listen lane to the records for the items' partition owners."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs

from sidestream.models.history import SIGNALS, fold
from sidestream.models.records import Listen, LiveListeners
from sidestream.models.records.signals import is_positive
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.tokenizing.live.audience import LiveAudience
from sidestream.streams.tokenizing.live.ids import LiveIds
from sidestream.streams.tokenizing.live.reading import decode_listeners
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.levels.mlp import MlpEncoder
from sidestream.tokenizer.live import FrozenCodebooks, LiveSettings
from sidestream.tokenizer.sid import item_key
from tests.bench.support.live_worker import AT, TOPICS, LiveWorker, Log, Producer, item, record


@pytest.fixture
def audience(tokenizer):
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    ids = LiveIds(clients, TOPICS.live_states)
    ids._set_live(b"live", True)
    return LiveAudience(clients, TOPICS.live_listeners, ids, [FrozenCodebooks(tokenizer)], LiveSettings())


@pytest.fixture
def sid_of(tokenizer):
    def lookup(key):
        sids = {item_key("jazz"): (1, 2, 3), item_key("live"): (4, 5, 6)}
        return StoredSid(tokenizer.version, sids[key]) if key in sids else None

    return lookup


def listen(item_id, at=AT, signal="listen", user="ann"):
    return Listen(event_id=f"{user}-{item_id}-{at}", user_id=user, item_id=item_id, at=at, signal=signal)


def batch(listens, lookup, first=0):
    """The lane's callback arguments for a batch of one user's listens."""
    numbered = list(enumerate(listens, first))
    return {b"ann": numbered}, {b"ann": fold(None, numbered, lookup).state}


async def published(audience):
    log = Log()
    await audience._publish(Producer(log))
    return [(key, value) for _, key, value in log.written]


async def test_a_listen_to_a_live_item_counts_with_its_listeners_other_listens(audience, sid_of, tokenizer):
    audience.count_listens(3, *batch([listen("jazz"), listen("live", AT + 1)], sid_of))
    ((key, value),) = await published(audience)
    listeners, partial = decode_listeners(key, value, AT, Limits())
    assert (listeners.item_id, partial.partition, partial.since, partial.offset, partial.at) == (
        "live",
        3,
        1,
        1,
        AT + 1,
    )
    heard = FrozenCodebooks(tokenizer).decode([(1, 2, 3)])[0]
    mean = partial.means[tokenizer.version]
    got = [component * mean.scale for component in memoryview(mean.vector).cast("b")]
    assert got == pytest.approx(heard / (heard @ heard) ** 0.5, abs=0.01)
    assert await published(audience) == []


@pytest.mark.parametrize("signal", SIGNALS)
async def test_a_listen_counts_if_its_signal_is_positive(audience, sid_of, signal):
    audience.count_listens(0, *batch([listen("jazz"), listen("live", AT + 1, signal)], sid_of))
    assert len(await published(audience)) == is_positive(signal)


@pytest.mark.parametrize("signal", SIGNALS)
async def test_a_listener_is_known_by_what_was_liked(audience, sid_of, signal):
    audience.count_listens(0, *batch([listen("jazz", signal=signal), listen("live", AT + 1)], sid_of))
    assert len(await published(audience)) == is_positive(signal)


async def test_strangers_and_other_items_do_not_count(audience, sid_of):
    audience.count_listens(0, *batch([listen("jazz"), listen("other", AT + 1)], sid_of))
    audience.count_listens(0, *batch([listen("live")], sid_of))  # nothing is known of this listener but the item itself
    assert await published(audience) == []


async def test_a_revocation_publishes_the_last_sums_and_resets_them(audience, sid_of):
    log = Log()
    audience._producer = Producer(log)
    audience.count_listens(0, *batch([listen("jazz"), listen("live", AT + 1)], sid_of))
    await audience.on_revoked()
    audience.count_listens(0, *batch([listen("jazz"), listen("live", AT + 2)], sid_of, first=7))
    await audience.on_revoked()
    sums = [LiveListeners.from_json(value) for _, _, value in log.written]
    assert [(one.since, one.offset) for one in sums] == [(1, 1), (8, 8)]


async def test_without_live_items_listens_are_not_inspected(audience):
    audience._ids._set_live(b"live", False)
    audience.count_listens(0, SimpleNamespace(items=pytest.fail), {})


async def test_many_listeners_move_an_item(tokenizer, tmp_path, audience, sid_of):
    log = Log()
    worker = LiveWorker([tokenizer], tmp_path, log, LiveSettings(own_weight=0.1, listener_weight=0.9, listener_prior=1))
    await worker.take([item(0)])
    for number in range(40):
        audience.count_listens(0, *batch([listen("jazz"), listen("live", AT + number)], sid_of, first=2 * number))
    ((key, value),) = await published(audience)
    await worker.take([record(TOPICS.live_listeners, 0, key.decode(), value)])
    assert worker.state().views[tokenizer.version].sid[0] == 1
    assert worker.metrics.live_listeners.labels("folded")._value.get() == 1


async def test_under_trained_levels_listeners_do_not_count_and_the_log_says_so_once(audience, sid_of, tokenizer):
    class Trained(FrozenCodebooks):
        is_invertible = False

    codebooks = [Trained(tokenizer)]
    with capture_logs() as lines:
        audience.set_codebooks(codebooks)
        audience.set_codebooks(codebooks)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "no influence on live items" in lines[0]["event"]
    assert lines[0]["tokenizer"] == tokenizer.version
    audience.count_listens(3, *batch([listen("jazz"), listen("live", AT + 1)], sid_of))
    assert await published(audience) == []


def test_sids_are_invertible_except_under_a_trained_encoder(tokenizer):
    assert FrozenCodebooks(tokenizer).is_invertible
    dim = tokenizer.tokenizer.levels.dim
    encoder = MlpEncoder.freeze([np.eye(dim)], [np.zeros(dim)])
    levels = dataclasses.replace(tokenizer.tokenizer.levels, encoder=encoder)
    trained = dataclasses.replace(tokenizer, tokenizer=dataclasses.replace(tokenizer.tokenizer, levels=levels))
    assert not FrozenCodebooks(trained).is_invertible
    assert FrozenCodebooks(trained).decode([(1, 2, 3)]) is None
