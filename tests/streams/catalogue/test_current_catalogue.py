import base64

import numpy as np
import pytest

from sidestream.models.records import ItemSids, TokenizedItem
from sidestream.streams.catalogue.current import CurrentCatalogue, RebuildPace
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.errors import BadRecord
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue
from sidestream.tokenizer.sid import item_key

VERSION, OTHER = "00112233aabb", "ffeeddccbbaa"
SIZES, DIM = (4, 4), 4
UNHAPPY = (3, 3)


class Seconds:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def value(item_id, *, offset=0, sid=(1, 2), version=VERSION, vector=b"\x01\x02\x03\x04", **facts):
    tokenized = TokenizedItem(sid=sid, vector=base64.b64encode(vector).decode(), vector_scale=0.5)
    return ItemSids(
        item_id=item_id, kind="track", source_offset=offset, versions={version: tokenized}, **facts
    ).to_json()


def record(item_id, **fields):
    return item_id.encode(), value(item_id, **fields)


@pytest.fixture
def decoder():
    return UpdateDecoder(VERSION, SIZES, DIM)


class Live:
    def __init__(self, decoder):
        self.seconds, self.clock, self.metrics = Seconds(), LogClock(), Metrics()

        def vectorize(item_ids, codes, x):
            x[(codes == UNHAPPY).all(axis=1)] = np.nan
            return x, np.ones(len(item_ids), np.float32)

        catalogue = Catalogue(VERSION, SIZES, DIM, vectorize, x_dim=DIM)
        self.live = CurrentCatalogue(
            catalogue, decoder, CatalogueSettings(), self.metrics, self.clock, seconds=self.seconds
        )

    def count(self, outcome):
        return self.metrics.catalogue_updates.labels(outcome)._value.get()


def ids(snapshot):
    return sorted(snapshot.item_ids(snapshot.bucket_rows))


def test_decoder_reads_facts_sid_and_vector(decoder):
    update = decoder.decode(*record("a", offset=7, creator="c", market=("de",), expires_at=5))
    assert (update.item_id, update.source_offset, update.sid, update.x_scale) == ("a", 7, (1, 2), 0.5)
    assert update.x_int8 == b"\x01\x02\x03\x04"
    assert (update.facts.creator, update.facts.market, update.facts.expires_at) == ("c", ("de",), 5)


def test_a_retokenized_value_supersedes_the_previous_one_and_old_values_have_no_revision(decoder):
    first = decoder.decode(*record("a", offset=7))
    again = decoder.decode(*record("a", offset=7, revision=1))
    next_event = decoder.decode(*record("a", offset=8))
    assert first.order < again.order < next_event.order
    assert b"revision" not in value("a")


def test_decoder_reads_additional_sids_and_rejects_invalid_ones(decoder):
    body = value("a", sid=(1, 2)).replace(b'"sid":[1,2]', b'"sid":[1,2],"more_sids":[[0,0],[3,1]]')
    assert decoder.decode(b"a", body).more_sids == ((0, 0), (3, 1))
    assert decoder.decode(*record("a")).more_sids == ()
    for wrong in (b"[[0,4]]", b"[[0]]", b"[[0,0,0]]", b"[[0,-1]]", b"7"):
        with pytest.raises(BadRecord):
            decoder.decode(b"a", body.replace(b"[[0,0],[3,1]]", wrong))


def test_decoder_reads_removals_and_items_of_other_versions(decoder):
    removed = decoder.decode(b"a", None)
    assert (removed.item_id, removed.facts, removed.source_offset) == ("a", None, None)
    other = decoder.decode(*record("a", version=OTHER))
    assert other.facts is not None
    assert other.sid is None


def test_an_item_without_a_sid_of_our_version_is_not_a_candidate_until_it_has_one(decoder):
    one = Live(decoder)
    for offset, version, known in ((0, VERSION, ["a"]), (1, OTHER, []), (1, VERSION, ["a"]), (1, OTHER, [])):
        one.live.apply([record("a", offset=offset, version=version)], arrived_s=100.0)
        one.live.build()
        assert ids(one.live.snapshot) == known, "of one event the value that was written last counts"
    assert one.count("malformed") == 0


def test_an_older_event_with_our_version_does_not_undo_a_newer_one_without_it(decoder):
    one = Live(decoder)
    older = [record("a", offset=0), record("b", offset=0)]
    newer = [record("a", offset=5, version=OTHER), record("b", offset=5, sid=(0, 0))]
    one.live.apply([*newer, *older], arrived_s=100.0)
    one.live.build()
    assert ids(one.live.snapshot) == ["b"]
    assert one.live.snapshot.stored_sid(item_key("b")) == (VERSION, (0, 0))


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        (None, None, "key_mismatch"),
        (b"a", b"{", "bad_value"),
        (b"b", value("a"), "key_mismatch"),
        (b"a", value("a", sid=(1, 2, 3)), "bad_value"),
        (b"a", value("a", sid=(1, 4)), "bad_value"),
        (b"a", value("a", vector=b"123"), "bad_value"),
        (b"a", value("a").replace(b'"vector_scale":0.5', b'"vector_scale":1e300'), "bad_value"),
        (b"a", value("a").replace(b"AQIDBA==", b"A!IDBA=="), "bad_value"),
        (b"a", value("a").replace(b"AQIDBA==", "AQIDBÄ==".encode()), "bad_value"),
        (b"a", value("a").replace(b'"source_offset":0', b'"source_offset":9223372036854775808'), "bad_value"),
    ],
)
def test_decoder_rejects_what_the_arrays_cannot_hold(decoder, key, body, reason):
    with pytest.raises(BadRecord) as caught:
        decoder.decode(key, body)
    assert caught.value.reason == reason


def test_applied_records_are_visible_after_the_next_build(decoder):
    one = Live(decoder)
    before = one.live.snapshot
    one.live.apply([record("a"), record("b", sid=(0, 0))], arrived_s=100.0)
    assert one.live.is_stale
    assert one.live.snapshot is before
    one.seconds.now = 100.25
    one.live.build()
    assert ids(one.live.snapshot) == ["a", "b"]
    assert before.num_items == 0
    assert not one.live.is_stale
    assert one.metrics.catalogue_visible_seconds._sum.get() == pytest.approx(0.25)
    one.live.apply([(b"a", None)], arrived_s=101.0)
    one.live.build()
    assert ids(one.live.snapshot) == ["b"]
    assert (one.count("applied"), one.count("removed")) == (2, 1)


def test_malformed_records_are_counted_and_skipped(decoder):
    one = Live(decoder)
    one.live.apply([(b"x", b"nonsense"), record("a"), (b"y", value("z"))], arrived_s=100.0)
    one.live.build()
    assert ids(one.live.snapshot) == ["a"]
    assert one.count("malformed") == 2


def test_a_rejected_update_does_not_affect_others(decoder):
    one = Live(decoder)
    one.live.apply([record("a"), record("bad", sid=UNHAPPY), record("b")], arrived_s=100.0)
    one.live.build()
    assert ids(one.live.snapshot) == ["a", "b"]
    assert one.count("refused") == 1


def test_expired_items_make_the_snapshot_stale(decoder):
    one = Live(decoder)
    one.live.apply([record("a"), record("live", expires_at=5_000)], arrived_s=100.0)
    one.live.build()
    assert ids(one.live.snapshot) == ["a", "live"]
    one.clock.observe(4_999)
    assert not one.live.is_stale
    one.clock.observe(5_000)
    assert one.live.is_stale
    one.live.build()
    assert ids(one.live.snapshot) == ["a"]
    assert not one.live.is_stale


def test_builds_are_spaced_by_a_multiple_of_their_own_time():
    seconds = Seconds()
    pace = RebuildPace(CatalogueSettings(min_rebuild_gap_ms=50, rebuild_duty=2.0, max_visible_ms=1_000), seconds)
    assert pace.wait_s() == 0.0
    pace.built(0.001)
    assert pace.wait_s() == pytest.approx(0.05)
    pace.built(0.2)
    assert pace.wait_s() == pytest.approx(0.4)
    seconds.now += 1.0
    assert pace.wait_s() == 0.0


@pytest.mark.parametrize(("took_s", "gap_s"), [(0.25, 0.5), (0.3, 0.4), (0.4, 0.2), (0.6, 0.05)])
def test_the_pause_after_a_long_build_is_shortened(took_s, gap_s):
    seconds = Seconds()
    pace = RebuildPace(CatalogueSettings(min_rebuild_gap_ms=50, rebuild_duty=2.0, max_visible_ms=1_000), seconds)
    pace.built(took_s)
    assert pace.wait_s() == pytest.approx(gap_s)


def test_a_snapshot_names_what_of_the_topic_it_holds(decoder):
    one = Live(decoder)
    assert one.live.snapshot.source_offsets is None
    one.live.apply([record("a")], arrived_s=100.0)
    first = one.live.build((1, 0))
    assert first.source_offsets == (1, 0)
    one.live.apply([record("a")], arrived_s=100.0)
    assert one.live.build((2, 0)) is first, "older offsets that hold the same items"
    one.live.apply([(b"a", None)], arrived_s=100.0)
    assert one.live.build((3, 0)).source_offsets == (3, 0)
