"""`sidestream dlq` on a real Kafka: dead letters are listed, shown and replayed once, then fail again or succeed."""

import base64
import json
import threading

import pytest
from aiokafka.errors import TransactionalIdAuthorizationFailed
from aiokafka.producer.sender import Sender
from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.errors import BadRecord, BrokerError, SettingsError, TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.deadletters import DeadLetterReader, Place, Replayer, Selection
from sidestream.streams.operate.deadletters import replay as replay_module

pytestmark = pytest.mark.broker
FUTURE_MS = 4_000_000_000_000


class Installation:
    """Topics on a broker, and a consumer that handles bad listens like the lane."""

    def __init__(self, kafka, topics) -> None:
        self.clients, self.topics = Clients(kafka.kafka), topics
        self.prefix = topics.listens.name.removesuffix("listen-events.v1")
        self.bootstrap = kafka.bootstrap
        self.box = DeadLetterReader(self.clients, topics, self.prefix)
        self.dlq = topics.listens.dead_letters
        self.seen: dict[int, int] = {}

    def cli(self, *words, fails=False):
        result = CliRunner().invoke(
            app, ["--bootstrap", self.bootstrap, "--set", f'topics.prefix="{self.prefix}"', "dlq", *words]
        )
        if fails:
            assert result.exit_code != 0
            return result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    def json(self, *words):
        return json.loads(self.cli(*words, "--json").stdout)

    def send(self, records) -> None:
        producer = self.clients.producer()
        sent = [
            producer.send(self.topics.listens.name, key=key, value=value, headers=headers, partition=partition)
            for partition, key, value, headers in records
        ]
        producer.flush(20)
        assert all(future.succeeded() for future in sent)
        producer.close()

    def consume(self, limits=None) -> list:
        """Send the bad ones of the new listens to the dead letters; return the good ones."""
        producer, good = self.clients.producer(), []
        for record in read_topic(self.clients, self.topics.listens.name):
            if record.offset < self.seen.get(record.partition, 0):
                continue
            self.seen[record.partition] = record.offset + 1
            try:
                decode_listen(record.key, record.value, record.timestamp, limits or Limits())
                good.append(record)
            except BadRecord as bad:
                source = type("Source", (), {**{n: getattr(record, n) for n in record.__slots__}})
                source.topic = self.topics.listens.name
                topic, key, value, headers = dead_letter(source, bad)
                producer.send(topic, key=key, value=value, headers=headers)
        producer.flush(20)
        producer.close()
        return good


@pytest.fixture
def place(kafka, make_topics) -> Installation:
    return Installation(kafka, make_topics())


def listen(user="u", **fields) -> bytes:
    return json.dumps({"event_id": "e", "user_id": user, "item_id": "i", "at": 1_700_000_000_000, **fields}).encode()


BAD = [
    (0, b"u", b"\xff\x00[/bold]", [("traceparent", b"00-1"), ("bin", b"\xfe")]),
    (1, b"u", b"{broken", []),
    (1, None, listen(), [("x-attempt", b"4")]),
    (2, b"u", None, []),
    (3, b"u", listen(at=FUTURE_MS), []),
]


@pytest.mark.slow
def test_letters_are_listed_selected_and_shown_in_full(place) -> None:
    place.send([*BAD, (0, b"u", listen(), [])])
    assert len(place.consume()) == 1
    rows = place.json("list")
    assert sorted(row["reason"] for row in rows) == [
        "absurd_time",
        "key_mismatch",
        "not_json",
        "not_json",
        "null_value",
    ]
    by_source = {row["source"].split("/", 1)[1]: row for row in rows}
    assert by_source["1/1"]["attempt"] == 4
    assert {row["replayed"] for row in rows} == {False}
    assert "not_json 2" in place.cli("list").stderr

    assert len(place.json("list", "--reason", "not_json", "--partition", "1")) == 1
    assert len(place.json("list", "--reason", "not_json", "--reason", "null_value")) == 3
    assert len(place.json("list", "--topic", "listen-events.v1", "--since", "1h")) == 5
    assert place.json("list", "--until", "1h") == []
    assert place.json("list", "--topic", "session-starts.v1") == []
    assert len(place.json("list", "-n", "2")) == 2
    assert isinstance(place.cli("list", "--topic", "candidates.v1", fails=True), TopicError)

    whole = place.json("show", by_source["0/0"]["letter"])
    assert base64.b64decode(whole["value"]["base64"]) == BAD[0][2]
    assert whole["value"]["text"] is None
    assert whole["key"] == {"text": "u", "base64": base64.b64encode(b"u").decode()}
    assert [header["name"] for header in whole["headers"]] == ["traceparent", "bin"]
    assert whole["source"] == f"{place.topics.listens.name}/0/0"
    assert place.cli("show", by_source["0/0"]["letter"], "--raw").stdout_bytes == BAD[0][2]
    assert "\\xff\\x00[/bold]" in place.cli("show", by_source["0/0"]["letter"], "--no-json").stdout
    assert "value: null" in place.cli("show", by_source["2/0"]["letter"], "--no-json").stdout
    assert isinstance(place.cli("show", f"{place.dlq}/0/999", fails=True), TopicError)


def test_replay_returns_each_letter_once_with_key_headers_and_bytes(place) -> None:
    place.send(BAD)
    place.consume()
    ends = dict(place.seen)
    dry = place.json("replay", "--everything", "--dry-run")
    assert (dry["replayed"], dry["dry_run"], len(dry["letters"])) == (5, True, 5)
    place.consume()
    assert place.seen == ends

    chosen = place.json("list", "--reason", "null_value")[0]["letter"]
    assert place.json("replay", chosen)["replayed"] == 1
    done = place.json("replay", "--everything")
    assert (done["replayed"], done["replayed_before"], done["skipped"], done["exactly_once"]) == (4, 1, {}, True)
    assert place.json("replay", "--everything")["replayed"] == 0
    assert place.json("list") == []
    assert len(place.json("list", "--replayed")) == 5

    came = {}
    for record in read_topic(place.clients, place.topics.listens.name):
        if record.offset >= ends[record.partition]:
            came.setdefault(record.partition, []).append((record.key, record.value, list(record.headers)))
    expected = {}
    for partition, key, value, headers in BAD:
        attempt = dict(headers).get("x-attempt", b"1")
        kept = [header for header in headers if header[0] != "x-attempt"]
        again = (key, value, [*kept, ("x-attempt", b"%d" % (int(attempt) + 1))])
        # Workers take a user's records in the user's partition alone.
        home = partition if key is None else partition_of(key, place.topics.listens.partitions)
        expected.setdefault(home, []).append(again)
    assert {p: sorted(r, key=repr) for p, r in came.items()} == {p: sorted(r, key=repr) for p, r in expected.items()}

    # Where the time limit was the fault, lifting it brings the record to life; the others are new letters.
    alive = place.consume(Limits(max_future_ms=FUTURE_MS))
    assert [record.value for record in alive] == [BAD[4][2]]
    assert sorted(row["attempt"] for row in place.json("list")) == [2, 2, 2, 5]
    assert place.json("replay", "--everything", "--max-attempt", "1")["replayed"] == 0


def test_original_timestamps_are_kept_on_request(place) -> None:
    place.send(BAD[:1])
    place.consume()
    (letter,) = place.box.letters(place.dlq, Selection())
    place.json("replay", "--everything", "--stamp", "original")
    _, again = read_topic(place.clients, place.topics.listens.name)
    assert again.timestamp == letter.source.timestamp


async def test_a_killed_replay_is_continued_without_repeats(place, monkeypatch) -> None:
    monkeypatch.setattr(replay_module, "BATCH_LETTERS", 3)
    place.send([(n % 4, b"u%d" % n, b"{%d" % n, []) for n in range(10)])
    place.consume()
    sent = 0

    class Killed(Exception): ...

    def count(letter) -> None:
        nonlocal sent
        sent += 1
        if sent == 5:
            raise Killed

    with pytest.raises(Killed):
        await Replayer(place.clients, place.box, on_letter=count).replay(Selection(reasons=frozenset({"not_json"})))
    # Its second batch was committed as a whole, though its process was killed before it could count it.
    assert len(list(read_topic(place.clients, place.topics.listens.name))) == 16
    rest = await Replayer(place.clients, place.box).replay(Selection())
    assert (rest.replayed.total(), rest.before) == (4, 6)
    values = [record.value for record in read_topic(place.clients, place.topics.listens.name)]
    assert sorted(values) == sorted(2 * [b"{%d" % n for n in range(10)])


async def test_a_batch_that_fails_is_neither_sent_nor_marked(place, monkeypatch) -> None:
    place.send([(0, b"u", b"{1", []), (1, b"u", b"{2", [])])
    place.consume()

    def refuse(offsets):
        raise BrokenPipeError

    monkeypatch.setattr(replay_module, "make_mark", refuse)
    with pytest.raises(BrokenPipeError):
        await Replayer(place.clients, place.box).replay(Selection())
    assert len(list(read_topic(place.clients, place.topics.listens.name))) == 2
    assert place.box.replayed(place.dlq) == {}


async def test_a_second_replay_takes_over_from_the_first(place, monkeypatch) -> None:
    monkeypatch.setattr(replay_module, "BATCH_LETTERS", 1)
    place.send([(0, b"u", b"{%d" % n, []) for n in range(4)])
    place.consume()
    others = []

    def interfere(letter) -> None:
        if not others:
            other = threading.Thread(target=lambda: others.append(place.json("replay", "--everything")))
            other.start()
            other.join()

    with pytest.raises(BrokerError, match="another replay"):
        await Replayer(place.clients, place.box, on_letter=interfere).replay(Selection())
    assert (others[0]["replayed"], others[0]["replayed_before"]) == (3, 1)
    assert len(list(read_topic(place.clients, place.topics.listens.name))) == 8


def test_without_permission_for_transactions_marks_follow_the_records(place, monkeypatch, caplog) -> None:
    allowed = Sender._maybe_wait_for_pid

    async def refuse(self):
        if self._txn_manager is not None and self._txn_manager.transactional_id is not None:
            raise TransactionalIdAuthorizationFailed(self._txn_manager.transactional_id)
        await allowed(self)

    monkeypatch.setattr(Sender, "_maybe_wait_for_pid", refuse)
    place.send(BAD)
    place.consume()
    done = place.json("replay", "--everything")
    assert (done["replayed"], done["exactly_once"]) == (5, False)
    assert "at least once" in caplog.text
    again = place.json("replay", "--everything")
    assert (again["replayed"], again["replayed_before"]) == (0, 5)


def test_replay_requires_a_selection(place) -> None:
    assert isinstance(place.cli("replay", fails=True), SettingsError)
    assert place.json("replay", str(Place(place.dlq, 0, 5)))["replayed"] == 0
