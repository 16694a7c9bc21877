"""Session-starts at an even rate, each measured from the moment it should have been sent.

An open loop: the next one does not wait for the answer to the last, and a generator or a worker that falls behind
makes every later one look slow, as it would be for the person who waits.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sidestream.streams.kafka.clients import Clients


class Answer(msgspec.Struct):
    """What is read of a candidate set; stock Faust's say less."""

    session_id: str
    user_id: str = ""
    state_watermark: int = -1


read_answer = msgspec.json.Decoder(Answer).decode


def session_start(session: str, user: str) -> bytes:
    """Make the value of a session-start of now."""
    start = {"session_id": session, "user_id": user, "at": time.time_ns() // 1_000_000, "num_candidates": 30}
    return json.dumps(start).encode()


@dataclass
class Load:
    """What was asked, by whom, and when it was answered, in monotonic seconds."""

    scheduled: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)

    @property
    def unanswered(self) -> int:
        """How many never came back."""
        return len(self.scheduled) - len(self.answered)

    def take(self, session: str, now_s: float) -> None:
        """Take an answer; repeats, and answers to what others asked, count for nothing."""
        if session in self.scheduled:
            self.answered.setdefault(session, now_s)

    def latencies_ms(self, from_s: float, to_s: float, give_up_s: float) -> list[float]:
        """Return how long those took that were scheduled in a time; an open one took at least until `give_up_s`."""
        return [
            (self.answered.get(session, give_up_s) - at) * 1e3
            for session, at in self.scheduled.items()
            if from_s <= at < to_s
        ]


@dataclass(frozen=True)
class OpenLoop:
    """Where and how fast.

    Attributes:
        clients: The Kafka.
        starts: Topic of the session-starts.
        candidates: Topic of the answers.
        partitions: Of both.
        users: Who may ask.
        per_s: The rate.
    """

    clients: Clients
    starts: str
    candidates: str
    partitions: int
    users: int
    per_s: float

    def run(self, tag: str, begin: Callable[[], bool], end: Callable[[float], bool], patience_s: float) -> Load:
        """Send until told to end, then wait for the open answers.

        Args:
            tag: Makes the session ids of this run its own.
            begin: Asked until true, once all clients are connected.
            end: Asked with the seconds since the begin, before each session-start.
            patience_s: How long to wait for open answers, and for the begin.

        Returns:
            What happened.

        Raises:
            TimeoutError: It did not begin.
        """
        return asyncio.run(self._run(tag, begin, end, patience_s))

    async def _run(self, tag: str, begin: Callable[[], bool], end: Callable[[float], bool], patience_s: float) -> Load:
        producer, consumer, load = self.clients.async_producer(linger_ms=0), self.clients.async_consumer(), Load()
        await producer.start()
        await consumer.start()
        try:
            tps = [TopicPartition(self.candidates, number) for number in range(self.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_end(*tps)
            reading = asyncio.create_task(self._read(consumer, load))
            give_up_s = time.monotonic() + patience_s
            while not begin():
                if time.monotonic() > give_up_s:
                    raise TimeoutError(f"the worker did not begin within {patience_s} s")
                await asyncio.sleep(0.05)
            await self._send(producer, load, tag, end)
            give_up_s = time.monotonic() + patience_s
            while load.unanswered and time.monotonic() < give_up_s:
                await asyncio.sleep(0.05)
            reading.cancel()
        finally:
            await producer.stop()
            await consumer.stop()
        return load

    async def _send(self, producer: AIOKafkaProducer, load: Load, tag: str, end: Callable[[float], bool]) -> None:
        rng, began_s, number = random.Random(tag), time.monotonic(), 0
        while not end(time.monotonic() - began_s):
            at_s = began_s + number / self.per_s
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            session, user = f"{tag}-{number}", f"user-{rng.randrange(self.users)}"
            load.scheduled[session], load.users[session] = at_s, user
            await producer.send(self.starts, session_start(session, user), key=user.encode())
            number += 1

    async def _read(self, consumer: AIOKafkaConsumer, load: Load) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now_s = time.monotonic()
            for records in fetched.values():
                for record in records:
                    load.take(read_answer(record.value).session_id, now_s)
