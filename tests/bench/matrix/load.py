"""Listens, session-starts and erasures that never stop: seeded, bad records, repeats and late events among them.

One user has 30 % of the listens. Some items come and go; no listen names them, since what is stored with a listen is
the SID that a worker's catalogue has at that moment.
"""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.models.records import SessionStart
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producing import close_producer

NUM_ITEMS = 500
# The others are never in the catalogue.
NUM_KNOWN_ITEMS = 300
# After the items that are listened to.
NUM_CHANGING_ITEMS = 20
# Some listen all the time and fill their rings; most listen rarely, so that what was lost of them stays lost.
NUM_BUSY_USERS, NUM_USERS = 20, 2_000
BUSY_SHARE = 0.4
FIRST_USER_SHARE = 0.3
TICK_S = 0.05
# Limits of what a broker that is away holds up.
START_S, ACKNOWLEDGED_S, CLOSE_S = 60.0, 15.0, 5.0
BAD_VALUES = (b"{broken", b"[]", b'{"event_id":"x"}', None, b"\xff\xfe", b"")
FIRST_AT = 1_700_000_000_000
LISTEN_MS = 1_000
# Everything so far; most of a full ring of a busy user; all but what is in blocks alone.
ERASED_MS_AGO = (0, 0, 1_000_000, 3_000_000)
BAD_ERASURE_EVERY = 10
NUM_CANDIDATES = (1, 5, 30)

KeyValue = tuple[bytes, bytes | None]


@dataclass(frozen=True)
class Rates:
    """What comes each second."""

    listens: int = 200
    starts: int = 5
    erasures: int = 2
    item_changes: int = 2


def listens(seed: str) -> Iterator[KeyValue]:
    """Make up keys and values without end: most are fine, some repeat an event id, come late, or cannot be read."""
    rng, number = random.Random(seed), 0
    while True:
        user = "user-0" if rng.random() < FIRST_USER_SHARE else _user(rng)
        late_ms = rng.randrange(10**8) if rng.random() < 0.1 else 0
        earlier = rng.randrange(1, 40) if number > 40 and rng.random() < 0.1 else 0
        listen = {
            "event_id": f"e{number - earlier}",
            "user_id": user,
            "item_id": f"item-{rng.randrange(NUM_ITEMS)}",
            # The broker's clock judges absurd times, so these lie in the past.
            "at": FIRST_AT + number * LISTEN_MS - late_ms,
            "signal": "skip" if number % 11 == 3 else "listen",
            "listened_ms": rng.choice((None, 1_000, 90_000)),
            "duration_ms": rng.choice((None, 120_000)),
        }
        key, value = user.encode(), json.dumps({k: v for k, v in listen.items() if v is not None}).encode()
        if number % 50 == 7:
            yield key, BAD_VALUES[number // 50 % len(BAD_VALUES)]
        elif number % 50 == 8:
            yield b"somebody-else", value
        elif number % 50 == 9:
            yield key, json.dumps({**listen, "at": 4_000_000_000_000}).encode()
        else:
            yield key, value
        number += 1


def erasure(rng: random.Random, number: int, listened_at: int) -> tuple[bytes, bytes]:
    """Make up a request to erase a user; one in ten cannot be read."""
    user = _user(rng)
    request = {"erasure_id": f"r{number}", "user_id": user, "at": listened_at - rng.choice(ERASED_MS_AGO)}
    if number % BAD_ERASURE_EVERY == 3:
        return user.encode(), b"{broken"
    return user.encode(), json.dumps(request).encode()


def session_start(rng: random.Random, number: int) -> SessionStart:
    """Make up a session-start."""
    return SessionStart(
        session_id=f"s{number}",
        user_id=_user(rng),
        at=FIRST_AT,
        num_candidates=rng.choice(NUM_CANDIDATES),
        page=rng.randrange(2),
        discovery=rng.choice(("any", "any", "familiar", "unfamiliar")),
        exclude=tuple(f"item-{rng.randrange(NUM_ITEMS)}" for _ in range(rng.randrange(3))),
    )


def item(number: int) -> tuple[bytes, bytes]:
    """Make up an item of the catalogue."""
    name = f"item-{number}"
    value = {"item_id": name, "kind": "track", "title": f"Made up {number}", "at": FIRST_AT}
    return name.encode(), json.dumps(value).encode()


def _user(rng: random.Random) -> str:
    return f"user-{rng.randrange(NUM_BUSY_USERS if rng.random() < BUSY_SHARE else NUM_USERS)}"


class Load:
    """Sends to one cell until it is stopped, and can go on again.

    Args:
        clients: The Kafka.
        topics: Of the cell.
        seed: Of what is made up.
        rates: How much.
        codec: Compression of the listens; none for none.

    Attributes:
        num_refused: Ticks in which Kafka did not take everything; what counts is what is on the topics.
    """

    def __init__(self, clients: Clients, topics: Topics, seed: str, rates: Rates, codec: str | None = None) -> None:
        self.clients, self.topics, self.rates, self.codec = clients, topics, rates, codec
        self.num_listens = self.num_starts = self.num_erasures = self.num_refused = 0
        self._present: set[bytes] = set()
        self._listens = listens(seed)
        self._rngs = {name: random.Random(f"{seed}/{name}") for name in ("starts", "erasures", "items")}
        self._due = dict.fromkeys(("listens", "starts", "erasures", "item_changes"), 0.0)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def make_catalogue(self) -> None:
        """Send the items that stay."""
        producer = self.clients.async_producer()
        await producer.start()
        try:
            acks = []
            for number in range(NUM_KNOWN_ITEMS):
                key, value = item(number)
                acks.append(await producer.send(self.topics.catalog_items.name, value, key=key))
            await asyncio.gather(*acks)
        finally:
            await producer.stop()

    def go(self) -> None:
        """Begin, or go on."""
        if self._task is None:
            self._stop.clear()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; everything sent is acknowledged afterwards."""
        task, self._task = self._task, None
        self._stop.set()
        if task is not None:
            await task

    async def _run(self) -> None:
        while not self._stop.is_set():
            # A producer whose broker was away may never send again.
            compressed = AIOKafkaProducer(
                bootstrap_servers=self.clients.bootstrap,
                enable_idempotence=True,
                max_batch_size=65_536,
                compression_type=self.codec,
            )
            producer = self.clients.async_producer()
            try:
                async with asyncio.timeout(START_S):
                    await asyncio.gather(compressed.start(), producer.start())
                while not self._stop.is_set():
                    async with asyncio.timeout(ACKNOWLEDGED_S):
                        await self._tick(compressed, producer)
                    await asyncio.sleep(TICK_S)
            except (KafkaError, TimeoutError):
                self.num_refused += 1
                await asyncio.sleep(TICK_S)
            finally:
                await asyncio.gather(close_producer(compressed, CLOSE_S), close_producer(producer, CLOSE_S))

    async def _tick(self, compressed: AIOKafkaProducer, producer: AIOKafkaProducer) -> None:
        heard = [next(self._listens) for _ in range(self._take("listens"))]
        self.num_listens += len(heard)
        made: list[tuple[str, KeyValue]] = []
        for _ in range(self._take("starts")):
            start = session_start(self._rngs["starts"], self.num_starts)
            made.append((self.topics.session_starts.name, (start.user_id.encode(), start.model_dump_json().encode())))
            self.num_starts += 1
        for _ in range(self._take("erasures")):
            request = erasure(self._rngs["erasures"], self.num_erasures, FIRST_AT + self.num_listens * LISTEN_MS)
            made.append((self.topics.user_erasures.name, request))
            self.num_erasures += 1
        for _ in range(self._take("item_changes")):
            made.append((self.topics.catalog_items.name, self._item_change()))
        acks = [await compressed.send(self.topics.listens.name, value, key=key) for key, value in heard]
        acks += [await producer.send(topic, value, key=key) for topic, (key, value) in made]
        for ack in await asyncio.gather(*acks, return_exceptions=True):
            if isinstance(ack, BaseException):
                raise ack

    def _take(self, what: str) -> int:
        due = self._due[what] + getattr(self.rates, what) * TICK_S
        self._due[what] = due - int(due)
        return int(due)

    def _item_change(self) -> KeyValue:
        key, value = item(NUM_ITEMS + self._rngs["items"].randrange(NUM_CHANGING_ITEMS))
        if key in self._present:
            self._present.discard(key)
            return key, None
        self._present.add(key)
        return key, value
