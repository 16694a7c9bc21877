"""Whole workers and producers of other clients: the configured partitioner is served, all others are dead letters."""

import json

import pytest
from confluent_kafka import Producer

from sidestream.streams.contracts.partitioner import partition_of
from tests.integration.rigs.session_rig import AT, Rig, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PARTITIONS = 4
# By all three hashes in different partitions.
USERS = [
    user
    for user in (f"user-{number}" for number in range(100))
    if len({partition_of(user.encode(), PARTITIONS, name) for name in ("murmur2", "crc32", "fnv1a")}) == 3
][:3]


@pytest.fixture
def loop(kafka, make_topics, tmp_path, request):
    made = Rig(kafka, make_topics(user_partitions=PARTITIONS), tmp_path, **{"topics.partitioner": request.param})
    yield made
    made.close()


class Foreign:
    """A producer of librdkafka, with its own default unless told otherwise."""

    def __init__(self, loop, **options):
        self._topics = loop.topics
        self._producer = Producer({"bootstrap.servers": loop.clients.bootstrap, **options})

    def listen(self, user, item_id):
        fields = {"event_id": f"{user}-{item_id}", "user_id": user, "item_id": item_id, "at": AT}
        self._send(self._topics.listens, user, fields)

    def session(self, user):
        fields = {"session_id": f"s-{user}", "user_id": user, "at": AT + 5_000, "num_candidates": 5}
        self._send(self._topics.session_starts, user, fields)

    def erase(self, user):
        self._send(self._topics.user_erasures, user, {"erasure_id": f"e-{user}", "user_id": user, "at": AT})

    def flush(self):
        assert self._producer.flush(20) == 0

    def _send(self, topic, user, fields):
        self._producer.produce(topic.name, json.dumps(fields).encode(), user.encode())


def folded(loop, user):
    return (loop.get(f"/v1/users/{user}/state")[1] or {}).get("listens_folded", 0)


def dead_letters(loop, topic):
    return loop.metric(f'sidestream_dead_letters_total{{reason="wrong_partition",topic="{topic.name}"}}')


@pytest.mark.parametrize(
    ("loop", "options"),
    [("crc32", {}), ("fnv1a", {"partitioner": "fnv1a_random"}), ("murmur2", {"partitioner": "murmur2_random"})],
    indirect=["loop"],
)
def test_a_producer_with_the_configured_partitioner_is_served_in_all(loop, options):
    for number in range(8):
        loop.item(f"i{number}")
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 8, what="items")
    producer = Foreign(loop, **options)
    for user in USERS:
        producer.listen(user, "i1")
    producer.flush()
    for user in USERS:
        wait_until(lambda user=user: folded(loop, user) == 1, what=f"state of {user}")
        producer.session(user)
    producer.flush()
    for user in USERS:
        assert loop.answer(f"s-{user}").fallback is None
    producer.erase(USERS[0])
    producer.flush()
    wait_until(lambda: loop.metric('sidestream_erasures_total{outcome="erased"}') == 1, what="erasure")
    assert [dead_letters(loop, topic) for topic in (loop.topics.listens, loop.topics.session_starts)] == [0, 0]
    assert loop.end() == 0


@pytest.mark.parametrize("loop", ["murmur2"], indirect=True)
def test_a_producer_with_another_partitioner_is_told_so_by_dead_letters_metric_and_log(loop):
    loop.start().ready()
    producer = Foreign(loop)
    for user in USERS:
        producer.listen(user, "i1")
        producer.session(user)
        producer.erase(user)
    producer.flush()
    sources = (loop.topics.listens, loop.topics.session_starts, loop.topics.user_erasures)
    for topic in sources:
        letters = loop.letters(topic.dead_letters, len(USERS))
        assert {letter.key.decode() for letter in letters} == set(USERS)
        for letter in letters:
            told = dict(letter.headers)["__streams.errors.message"].decode()
            home, got = (partition_of(letter.key, PARTITIONS, name) for name in ("murmur2", "crc32"))
            assert f"expected partition {home} of {PARTITIONS}, by the key's murmur2, got {got}, by its crc32" in told
            assert "topics.partitioner = crc32 if all producers use that" in told
        wait_until(lambda topic=topic: dead_letters(loop, topic) == len(USERS), what=f"metric of {topic.name}")
    assert [folded(loop, user) for user in USERS] == [0, 0, 0]
    log = loop.log.read_text()
    assert log.count("records in wrong partitions go to the dead letters") == len(sources)
    assert loop.end() == 0
