import numpy as np
import pytest

from sidestream.tokenizer.live import Audience, RecentListen, listener_vectors
from tests.tokenizer.live.live_toys import DIM, ToyCodebooks

CODEBOOKS = {"0123456789ab": ToyCodebooks()}
(V,) = CODEBOOKS
ONE, TWO = np.eye(DIM)[1], np.eye(DIM)[2]


def mean(partial):
    listening = partial.means[V]
    return np.frombuffer(listening.vector, np.int8) * listening.scale


def test_a_listener_is_the_decayed_mean_of_the_recent_items():
    listens = [RecentListen(0, V, (1,)), RecentListen(60_000, V, (2,)), RecentListen(0, "ffffffffffff", (3,))]
    vector = listener_vectors(listens, CODEBOOKS, half_life_s=60.0)[V]
    assert vector[1] == pytest.approx(2 * vector[2], abs=1e-4)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4)
    assert vector[3] == 0


def test_a_listener_without_known_items_has_no_vector():
    assert listener_vectors([], CODEBOOKS, 60.0) == {}
    assert listener_vectors([RecentListen(0, "ffffffffffff", (3,))], CODEBOOKS, 60.0) == {}


def test_books_behind_a_trained_encoder_give_no_listeners():
    blind = ToyCodebooks()
    blind.decode = lambda sids: None
    assert listener_vectors([RecentListen(0, V, (1,))], {V: blind}, 60.0) == {}


def test_a_sum_halves_after_its_half_life_and_is_published_once():
    audience = Audience(60.0)
    audience.add_listen("live", 3, 10, 0, {V: ONE})
    audience.add_listen("live", 3, 12, 60_000, {V: TWO})
    ((item_id, partial),) = audience.publish({"live"})
    assert (item_id, partial.partition, partial.since, partial.offset, partial.at) == ("live", 3, 10, 12, 60_000)
    assert partial.means[V].weight == pytest.approx(1.5)
    assert mean(partial)[:4] == pytest.approx([0, 1 / 3, 2 / 3, 0], abs=0.01)
    assert audience.publish({"live"}) == []


def test_late_and_repeated_listens_count_for_what_they_are_worth():
    audience = Audience(60.0)
    audience.add_listen("live", 0, 10, 60_000, {V: ONE})
    audience.add_listen("live", 0, 11, 0, {V: TWO})
    audience.add_listen("live", 0, 11, 0, {V: TWO})
    ((_, partial),) = audience.publish({"live"})
    assert partial.at == 60_000
    assert partial.means[V].weight == pytest.approx(1.5)


def test_after_a_change_of_hands_another_sum_begins():
    audience = Audience(60.0)
    audience.add_listen("live", 0, 10, 0, {V: ONE})
    audience.publish({"live"})
    audience.clear()
    audience.add_listen("live", 0, 20, 1_000, {V: ONE})
    ((_, partial),) = audience.publish({"live"})
    assert (partial.since, partial.means[V].weight) == (20, 1.0)


def test_items_that_have_ended_or_have_no_listeners_are_dropped():
    audience = Audience(60.0)
    audience.add_listen("over", 0, 1, 0, {V: ONE})
    audience.add_listen("quiet", 0, 2, 0, {V: ONE})
    audience.add_listen("live", 0, 3, 3_600_000, {V: ONE})
    assert [item_id for item_id, _ in audience.publish({"quiet", "live"})] == ["live"]
    assert len(audience) == 1


def test_partitions_have_separate_sums():
    audience = Audience(60.0)
    audience.add_listen("live", 1, 1, 0, {V: ONE})
    audience.add_listen("live", 0, 1, 0, {V: ONE})
    audience.add_listen("live", 0, 2, 0, {})
    assert [partial.partition for _, partial in audience.publish({"live"})] == [0, 1]
