"""Topics: the specs of an installation, their creation, and every way in which a Kafka cluster can differ."""

from uuid import UUID

import pytest

from sidestream.streams.broker import RunningBroker
from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import (
    DAY_MS,
    TopicProblem,
    TopicSpec,
    TopicState,
    build_topics,
    check_topics,
    create_topics,
    in_one_line,
    require_topics,
)
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients, KafkaSettings

TOPICS = build_topics(TopicSettings())


class FakeAdmin:
    def __init__(self, states: dict[str, TopicState]) -> None:
        self.states = states

    def describe(self, names) -> dict[str, TopicState]:
        return {name: self.states[name] for name in names if name in self.states}

    def create(self, specs, replication_factor: int) -> None:
        self.states |= {spec.name: as_it_must_be(spec) for spec in specs}

    def close(self) -> None:
        pass


def as_it_must_be(spec: TopicSpec) -> TopicState:
    return TopicState(spec.partitions, spec.config.get("cleanup.policy", "delete"))


def test_build_topics_matches_the_contract() -> None:
    assert {spec.name for spec in TOPICS} == {
        "listen-events.v1",
        "session-starts.v1",
        "candidates.v1",
        "catalog-items.v1",
        "item-sids.v1",
        "user-state-changelog.v1",
        "user-erasures.v1",
        "generations.v1",
        "generation-reports.v1",
        "item-counts.v1",
        "item-count-changes.v1",
        "item-count-totals.v1",
        "user-erasures.v1.dlq",
        "listen-events.v1.dlq",
        "session-starts.v1.dlq",
        "catalog-items.v1.dlq",
        "live-segments.v1",
        "live-segments.v1.dlq",
        "live-listeners.v1",
        "live-listeners.v1.dlq",
        "live-states.v1",
    }
    assert {spec.partitions for spec in TOPICS if spec.key == "user_id"} == {8}
    assert {spec.partitions for spec in TOPICS if spec.key == "item_id"} == {4}
    assert TOPICS.item_counts.partitions == TOPICS.listens.partitions
    assert TOPICS.item_count_changes.partitions == TOPICS.item_count_totals.partitions == 4
    assert {spec.name for spec in TOPICS if spec.compacted} == {
        "catalog-items.v1",
        "item-sids.v1",
        "user-erasures.v1",
        "user-state-changelog.v1",
        "live-states.v1",
        "generations.v1",
        "generation-reports.v1",
        "item-counts.v1",
        "item-count-totals.v1",
    }
    assert (TOPICS.generations.partitions, TOPICS.generation_reports.partitions) == (1, 1)
    assert all((spec.config.get("cleanup.policy") == "compact") == spec.compacted for spec in TOPICS)
    letters = {spec.name for spec in TOPICS.dead_letters}
    assert {spec.dead_letters for spec in TOPICS if spec.dead_letters} == letters


def test_build_topics_puts_the_prefix_before_every_name() -> None:
    prefixed = build_topics(TopicSettings(prefix="blue-"))
    assert [spec.name for spec in prefixed] == ["blue-" + spec.name for spec in TOPICS]
    assert prefixed.listens.dead_letters == "blue-listen-events.v1.dlq"


def test_create_topics_creates_only_missing_topics() -> None:
    admin = FakeAdmin({TOPICS.listens.name: TopicState(3, "delete")})
    made = create_topics(admin, TOPICS)
    assert made == [spec.name for spec in TOPICS if spec is not TOPICS.listens]
    assert create_topics(admin, TOPICS) == []
    assert admin.states[TOPICS.listens.name].partitions == 3


@pytest.mark.parametrize(
    ("name", "state", "codes", "advice"),
    [
        ("item-sids.v1", None, ["missing"], "sidestream topics create"),
        ("item-sids.v1", TopicState(5, "compact"), ["wrong_partitions"], "topics.item_partitions = 5"),
        ("item-sids.v1", TopicState(4, "delete"), ["not_compacted"], "cleanup.policy=compact"),
        ("user-state-changelog.v1", TopicState(8, "compact,delete"), ["not_compacted"], "cleanup.policy=compact"),
        ("generations.v1", TopicState(4, "compact"), ["wrong_partitions"], "delete the topic"),
        ("listen-events.v1", TopicState(9, "delete"), ["wrong_partitions", "not_copartitioned"], "recreate"),
        ("listen-events.v1.dlq", TopicState(9, "delete"), ["wrong_partitions"], "topics.user_partitions = 9"),
    ],
)
def test_check_topics_reports_each_difference_with_a_remedy(name, state, codes, advice) -> None:
    states = {spec.name: as_it_must_be(spec) for spec in TOPICS}
    admin = FakeAdmin({**states, name: state} if state else {k: v for k, v in states.items() if k != name})
    assert [problem.code for problem in check_topics(admin, TOPICS)] == codes
    with pytest.raises(TopicError, match=name) as caught:
        require_topics(admin, TOPICS)
    assert advice in str(caught.value)


def test_require_topics_accepts_a_matching_kafka() -> None:
    admin = FakeAdmin({spec.name: as_it_must_be(spec) for spec in TOPICS})
    require_topics(admin, TOPICS)
    # The embedded broker does not report its policies: unknown is not wrong.
    require_topics(FakeAdmin({spec.name: TopicState(spec.partitions, None) for spec in TOPICS}), TOPICS)


@pytest.mark.broker
def test_topics_on_a_real_kafka_are_created_checked_and_rejected(kafka: RunningBroker, topic_prefix) -> None:
    settings = TopicSettings(prefix=topic_prefix(), user_partitions=3)
    topics = build_topics(settings)
    admin = kafka.topic_admin()
    try:
        assert {problem.code for problem in check_topics(admin, topics)} == {"missing"}
        assert len(create_topics(admin, topics)) == len(list(topics))
        assert check_topics(admin, topics) == []
        found = admin.describe([topics.listens.name, topics.item_sids.name, "never-made"])
        ids = {name: state.topic_id for name, state in found.items()}
        assert all(UUID(topic_id) for topic_id in ids.values())
        assert len(set(ids.values())) == 2
        assert found == {
            topics.listens.name: TopicState(3, "delete", ids[topics.listens.name], DAY_MS),
            topics.item_sids.name: TopicState(4, "compact", ids[topics.item_sids.name], 7 * DAY_MS),
        }
        # Creating an existing topic is not an error: two `topics create` may run concurrently.
        admin.create([topics.listens], -1)
        bad = TopicSpec(settings.prefix + "bad", "user_id", None, 1, config={"no.such.setting": "1"})
        with pytest.raises(TopicError, match="bad"):
            admin.create([bad], -1)
    finally:
        admin.close()


def test_topics_on_the_embedded_broker_are_created_only_through_its_handle() -> None:
    pytest.importorskip("confluent_kafka")
    with EmbeddedBroker() as broker:
        assert create_topics(broker, TOPICS) == [spec.name for spec in TOPICS]
        require_topics(broker, TOPICS)
        other = KafkaTopicAdmin(Clients(KafkaSettings(bootstrap=broker.bootstrap, kind="embedded")))
        try:
            require_topics(other, TOPICS)
            with pytest.raises(TopicError, match="only in the process that runs it"):
                other.create([TOPICS.listens], -1)
            # Describing a missing topic must not create it.
            assert other.describe(["never-made"]) == {}
            assert other.describe(["never-made"]) == {}
        finally:
            other.close()
        with pytest.raises(TopicError, match="before it was created"):
            broker.create([TOPICS.listens])


def test_equal_problems_are_grouped_in_one_line():
    problems = [
        TopicProblem("a", "wrong_partitions", "expected 4 partitions, got 8", "set x = 8"),
        TopicProblem("b", "not_compacted", "expected compact", "set it"),
        TopicProblem("c", "wrong_partitions", "expected 4 partitions, got 8", "set x = 8"),
    ]
    assert in_one_line(problems) == "a, c: expected 4 partitions, got 8; set x = 8; b: expected compact; set it"
