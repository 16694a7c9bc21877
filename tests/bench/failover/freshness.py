"""Seconds from a blow to each user's first fresh answer: one whose state holds a listen that was published after it.

Each user asks again as soon as an answer is there that is not fresh, and after a while without any answer: one open
session-start a user is no backlog that would be measured itself.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, TopicPartition

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.kafka.clients import Clients
from tests.bench.support.open_loop import Answer, read_answer, session_start

# After an answer that is not fresh; after none at all, which must be sooner than session.max_age_ms.
ASK_AGAIN_S, GIVE_UP_S = 0.05, 5.0
POLL_MS = 50


@dataclass
class Asking:
    """Who has which listen to be answered for, and who waits for what.

    Attributes:
        offsets: Source offset of each user's listen.
        due_s: When each user asks next, in monotonic seconds.
        fresh_s: When each user had a fresh answer.
        num_outdated: Answers that were not fresh.
    """

    offsets: dict[str, int]
    due_s: dict[str, float]
    fresh_s: dict[str, float] = field(default_factory=dict)
    num_outdated: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all have had a fresh answer."""
        return len(self.fresh_s) == len(self.offsets)

    def take(self, answer: Answer, now_s: float) -> None:
        """Take an answer to one of the users."""
        user = answer.user_id
        if user not in self.offsets or user in self.fresh_s:
            return
        if answer.state_watermark >= self.offsets[user]:
            self.fresh_s[user] = now_s
            del self.due_s[user]
        else:
            self.num_outdated += 1
            self.due_s[user] = now_s + ASK_AGAIN_S

    def take_due(self, now_s: float) -> list[str]:
        """Give the users who ask now."""
        due = [user for user, at_s in self.due_s.items() if at_s <= now_s]
        self.due_s |= dict.fromkeys(due, now_s + GIVE_UP_S)
        return due


@dataclass(frozen=True)
class Freshness:
    """Where to ask, and for whom.

    Attributes:
        clients: The Kafka.
        topics: Of the installation.
        users: Who asks.
    """

    clients: Clients
    topics: Topics
    users: Sequence[str]

    def measure(self, strike: Callable[[], None], patience_s: float) -> tuple[list[float], int]:
        """Strike, and ask until all have fresh answers or patience ends.

        Args:
            strike: Kills a worker; returns at once.
            patience_s: Longest time from then on.

        Returns:
            Seconds for each user, patience for those who had none; and the number of answers that were not fresh.
        """
        return asyncio.run(self._measure(strike, patience_s))

    async def _measure(self, strike: Callable[[], None], patience_s: float) -> tuple[list[float], int]:
        producer, consumer = self.clients.async_producer(linger_ms=0), self.clients.async_consumer()
        await producer.start()
        await consumer.start()
        try:
            spec = self.topics.candidates
            tps = [TopicPartition(spec.name, number) for number in range(spec.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_end(*tps)
            await asyncio.gather(*(consumer.position(tp) for tp in tps))
            strike()
            struck_s = time.monotonic()
            offsets = await self._listen(producer)
            asking, number = Asking(offsets, dict.fromkeys(offsets, 0.0)), 0
            while not asking.is_over and (now_s := time.monotonic()) < struck_s + patience_s:
                for user in asking.take_due(now_s):
                    number += 1
                    start = session_start(f"fresh-{number}", user)
                    await producer.send(self.topics.session_starts.name, start, key=user.encode())
                fetched = await consumer.getmany(timeout_ms=POLL_MS)
                now_s = time.monotonic()
                for record in (record for records in fetched.values() for record in records):
                    asking.take(read_answer(record.value), now_s)
        finally:
            await producer.stop()
            await consumer.stop()
        waits = [asking.fresh_s.get(user, struck_s + patience_s) - struck_s for user in self.users]
        return waits, asking.num_outdated

    async def _listen(self, producer: AIOKafkaProducer) -> dict[str, int]:
        """Publish a listen of each user; returns their source offsets."""
        now_ms, topic = time.time_ns() // 1_000_000, self.topics.listens.name
        sent = []
        for user in self.users:
            listen = {"event_id": f"after-{now_ms}", "user_id": user, "item_id": "item-1", "at": now_ms}
            sent.append(await producer.send(topic, json.dumps(listen).encode(), key=user.encode()))
        placed = await asyncio.gather(*sent)
        return {user: record.offset for user, record in zip(self.users, placed, strict=True)}
