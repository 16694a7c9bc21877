"""Live items on a real Kafka: a whole worker with the shipped pair, killed in the middle of two streams."""

import json
import subprocess
import sys

import pytest

from sidestream.models.records import CatalogItem, ItemSids, Listen, LiveListeners
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.tokenizing.live.items import LiveItems
from sidestream.streams.tokenizing.live_codebooks import live_codebooks
from sidestream.streams.tokenizing.records import ConsumedRecord
from sidestream.streams.tokenizing.values import item_sids
from sidestream.streams.worker.process import WorkerProcess
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.live import LiveSettings, decode_state
from tests.bench.support.live_streams import streams
from tests.integration.rigs.session_rig import wait_until

pytestmark = pytest.mark.broker
USERS = ("ann", "ben", "cyd", "dan")
STEADY, SHIFTING = streams(2, 300, seed=4)


class Installation:
    """Separate topics, a client, and a worker that may be killed and restarted."""

    def __init__(self, kafka, topics, folder):
        prefix = topics.listens.name.removesuffix("listen-events.v1")
        self.settings = TopicSettings(prefix=prefix, user_partitions=2, item_partitions=2)
        self.topics, self.clients = topics, Clients(kafka.kafka)
        self.client = SidestreamClient(kafka.kafka, self.settings)
        (port,) = free_ports(1)
        self.log = folder / "worker.log"
        self.flags = {
            "kafka.bootstrap": kafka.bootstrap,
            "kafka.session_timeout_ms": 3_000,
            "kafka.heartbeat_interval_ms": 300,
            "topics.prefix": prefix,
            "topics.user_partitions": 2,
            "topics.item_partitions": 2,
            "worker.app_id": f"{prefix}app",
            "web.port": port,
            "data_dir": str(folder / "data"),
            "artifacts": str(shipped_pair()),
            "live.publish_s": 0.2,
        }
        self.workers = []

    def start(self):
        self.workers.append(WorkerProcess(self.flags, self.log))
        self.workers[-1].wait_ready(60)
        return self.workers[-1]

    def flags_of(self, *groups):
        return [
            part
            for name, value in self.flags.items()
            if name.startswith(groups)
            for part in ("--set", f"{name}={value}")
        ]

    def latest(self, topic):
        found = {record.key.decode(): record.value for record in read_topic(self.clients, topic.name)}
        return {key: value for key, value in found.items() if value is not None}

    def states(self):
        return {key: decode_state(value) for key, value in self.latest(self.topics.live_states).items()}

    def folded_to(self, *lengths):
        """Whether the given number of segments of each stream are in the states."""
        ends = {key: state.end_ms for key, state in self.states().items()}
        return ends == {
            stream.item_id: length * 5_000 for stream, length in zip((STEADY, SHIFTING), lengths, strict=True)
        }

    def close(self):
        self.client.close()
        for worker in self.workers:
            worker.stop()


@pytest.fixture
def installation(kafka, make_topics, tmp_path):
    made = Installation(kafka, make_topics(user_partitions=2, item_partitions=2), tmp_path)
    yield made
    made.close()


def folded_again(installation, tokenizer):
    """Fold the records of the topics once, in one process, without Kafka."""
    topics = installation.topics
    items = LiveItems(topics, live_codebooks([tokenizer]), Limits(), LiveSettings(), Metrics())
    latest = {}
    for topic in (topics.catalog_items, topics.live_segments):
        for r in read_topic(installation.clients, topic.name):
            source = ConsumedRecord(topic.name, r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers))
            made = None
            if topic is topics.catalog_items:
                (value,) = item_sids(tokenizer, [CatalogItem.from_json(r.value)], [r.offset])
                made = (topics.item_sids.name, r.key, value.to_json(), [])
            for name, key, value, _ in items.apply([source], [made], dead_letter):
                latest[name, key.decode()] = value
    return latest


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_streams_changes_no_byte(installation):
    tokenizer = load_tokenizer(shipped_pair() / "tokenizer")
    client, topics = installation.client, installation.topics
    for stream in (STEADY, SHIFTING):
        client.publish_item(stream.item())
    client.flush()
    worker = installation.start()
    wait_until(lambda: len(installation.states()) == 2, 60, "both streams known")
    segments = list(zip(STEADY.segments(), SHIFTING.segments(), strict=True))
    for number, pair in enumerate(segments):
        if number == len(segments) // 2:
            client.flush()
            worker.kill()
        for segment in pair:
            client.publish_segment(segment)
    client.flush()
    worker = installation.start()
    wait_until(lambda: installation.folded_to(60, 60), 60, "all segments folded")
    wait_until(lambda: worker.get("/readyz")[0] == 200, 60, "ready")
    expected = folded_again(installation, tokenizer)

    def same():
        return all(
            installation.latest(topic) == {key: value for (name, key), value in expected.items() if name == topic.name}
            for topic in (topics.live_states, topics.item_sids)
        )

    wait_until(same, 30, "same bytes")
    now = {key: ItemSids.from_json(value) for key, value in installation.latest(topics.item_sids).items()}
    assert now[SHIFTING.item_id].revision > (now[STEADY.item_id].revision or 0)


def test_listener_sums_reach_the_item_and_an_ended_stream_is_removed(installation):
    client, topics, worker = installation.client, installation.topics, installation.start()
    heard = [
        CatalogItem(item_id=f"t{n}", kind="track", title=f"Track {n}", at=STEADY.begins_at, tags=("night jazz",))
        for n in range(3)
    ]
    for item in (*heard, STEADY.item()):
        client.publish_item(item)
    client.flush()
    wait_until(lambda: _metric(worker, "sidestream_catalogue_items") == 4, 60, "catalogue")
    wait_until(lambda: len(installation.states()) == 1, 60, "stream known")

    def listen(user, item_id, at):
        client.publish_listen(Listen(event_id=f"{user}-{item_id}-{at}", user_id=user, item_id=item_id, at=at))

    for user in USERS:
        for number, item in enumerate(heard):
            listen(user, item.item_id, STEADY.begins_at + number)
    client.flush()
    at = STEADY.begins_at + 1_000

    def both_sums():
        # Until the worker knows that the item is live its listens are not counted.
        nonlocal at
        at += 1_000
        for user in USERS:
            listen(user, STEADY.item_id, at)
        client.flush()
        state = installation.states()[STEADY.item_id]
        return {partial.partition for partial in state.partials} == {0, 1} and state

    state = wait_until(both_sums, 60, "sums of both partitions")
    tokenizer = load_tokenizer(shipped_pair() / "tokenizer")
    assert all(set(partial.means) == {tokenizer.version} for partial in state.partials)
    assert [
        LiveListeners.from_json(r.value).item_id for r in read_topic(installation.clients, topics.live_listeners.name)
    ]
    listed = subprocess.run(
        [
            sys.executable,
            "-m",
            "sidestream.streams.cli.main",
            *installation.flags_of("kafka.", "topics."),
            "live",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = json.loads(listed.stdout)
    assert (row["item"], row["revision"]) == (STEADY.item_id, state.revision)
    assert row["listens"] > 1
    client.remove_item(STEADY.item_id)
    client.publish_segment(next(iter(STEADY.segments())))
    client.flush()
    wait_until(lambda: _metric(worker, "sidestream_catalogue_items") == 3, 30, "stream gone")
    wait_until(lambda: not installation.states(), 30, "state gone")
    assert STEADY.item_id not in installation.latest(topics.item_sids)


def _metric(worker, name):
    _, text = worker.get("/metrics")
    return next((float(line.split()[1]) for line in str(text).splitlines() if line.startswith(f"{name} ")), None)
