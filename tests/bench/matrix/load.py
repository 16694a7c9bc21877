"""Listens, session-starts and erasures that never stop: seeded, bad records, repeats and late events among them."""

import asyncio
import json
import random
from collections.abc import Iterator

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.kafka.clients import Clients

NUM_ITEMS = 500
# The others are never in the catalogue.
NUM_KNOWN_ITEMS = 300
# Some listen all the time and fill their rings; most listen rarely, so that what was lost of them stays lost.
NUM_BUSY_USERS, NUM_USERS = 20, 2_000
BUSY_SHARE = 0.4
TICK_S = 0.05
BAD_VALUES = (b"{broken", b"[]", b'{"event_id":"x"}', None, b"\xff\xfe", b"")
FIRST_AT = 1_700_000_000_000
LISTEN_MS = 1_000
# Everything so far; most of a full ring of a busy user; all but what is in blocks alone.
ERASED_MS_AGO = (0, 0, 1_000_000, 3_000_000)
BAD_ERASURE_EVERY = 10


def listens(seed: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Make up keys and values without end: most are fine, some repeat an event id, come late, or cannot be read."""
    rng, number = random.Random(seed), 0
    while True:
        user = f"user-{rng.randrange(NUM_BUSY_USERS if rng.random() < BUSY_SHARE else NUM_USERS)}"
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
    user = f"user-{rng.randrange(NUM_BUSY_USERS if rng.random() < BUSY_SHARE else NUM_USERS)}"
    request = {"erasure_id": f"r{number}", "user_id": user, "at": listened_at - rng.choice(ERASED_MS_AGO)}
    if number % BAD_ERASURE_EVERY == 3:
        return user.encode(), b"{broken"
    return user.encode(), json.dumps(request).encode()


def item(number: int) -> tuple[bytes, bytes]:
    """Make up an item of the catalogue."""
    name = f"item-{number}"
    value = {"item_id": name, "kind": "track", "title": f"Made up {number}", "at": FIRST_AT}
    return name.encode(), json.dumps(value).encode()


class Load:
    """Sends to one cell until it is stopped, and can go on again.

    Args:
        clients: The Kafka.
        topics: Of the cell.
        seed: Of what is made up.
        listens_per_s: Rate.
        starts_per_s: Rate of session-starts.
        erasures_per_s: Rate of requests to erase a user.
    """

    def __init__(
        self, clients: Clients, topics: Topics, seed: str, listens_per_s: int, starts_per_s: int, erasures_per_s: int
    ) -> None:
        self.clients, self.topics = clients, topics
        self.num_listens = self.num_erasures = 0
        self.sessions: set[str] = set()
        self._listens = listens(seed)
        self._rng, self._erasing = random.Random(seed + "/sessions"), random.Random(seed + "/erasures")
        self._per_tick = [rate * TICK_S for rate in (listens_per_s, starts_per_s, erasures_per_s)]
        self._due = [0.0, 0.0, 0.0]
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

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
        producer = self.clients.async_producer(max_batch_bytes=65_536)
        await producer.start()
        try:
            while not self._stop.is_set():
                await self._tick(producer)
                await asyncio.sleep(TICK_S)
        finally:
            await producer.stop()

    async def _tick(self, producer) -> None:
        self._due = [due + more for due, more in zip(self._due, self._per_tick, strict=True)]
        acks, names = [], []
        while self._due[0] >= 1:
            self._due[0] -= 1
            key, value = next(self._listens)
            acks.append(await producer.send(self.topics.listens.name, value, key=key))
        num_listens = len(acks)
        while self._due[1] >= 1:
            self._due[1] -= 1
            user = f"user-{self._rng.randrange(NUM_USERS)}"
            names.append(f"s{len(self.sessions) + len(names)}")
            start = {"session_id": names[-1], "user_id": user, "at": FIRST_AT, "num_candidates": 5}
            acks.append(
                await producer.send(self.topics.session_starts.name, json.dumps(start).encode(), key=user.encode())
            )
        while self._due[2] >= 1:
            self._due[2] -= 1
            at = FIRST_AT + (self.num_listens + num_listens) * LISTEN_MS
            key, value = erasure(self._erasing, self.num_erasures, at)
            acks.append(await producer.send(self.topics.user_erasures.name, value, key=key))
            self.num_erasures += 1
        await asyncio.gather(*acks)
        self.num_listens += num_listens
        self.sessions.update(names)
