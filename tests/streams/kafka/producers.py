"""Stand-ins for aiokafka's producer: their sender and metadata task are tasks of their own, which a test may end."""

import asyncio
from types import SimpleNamespace

from aiokafka.errors import KafkaConnectionError, ProducerClosed

from sidestream.streams.kafka.outages import Outages


class Accumulator:
    def __init__(self, flushes):
        self.flushes = flushes

    async def close(self):
        await self.flushes.wait()


class Client:
    def __init__(self):
        self._sync_task = asyncio.ensure_future(asyncio.Event().wait())
        self.is_closed = False

    async def close(self):
        self.is_closed = True
        self._sync_task.cancel()


class StandIn:
    """What `producing` knows of a producer.

    Args:
        sender: Coroutine of its sender; one that never ends by default.
        flushes: Whether what is queued gets sent when it is closed.
    """

    def __init__(self, sender=None, flushes=True):
        flushed = asyncio.Event()
        if flushes:
            flushed.set()
        self._sender = SimpleNamespace(sender_task=asyncio.ensure_future(sender or asyncio.Event().wait()))
        self._message_accumulator = Accumulator(flushed)
        self.client = Client()
        self._closed = False

    def die(self, error):
        """End its sender with an error."""
        self._sender.sender_task = asyncio.ensure_future(fail(error))


async def fail(error):
    raise error


class Broker:
    """Takes records; also `Clients` of a `LastingProducer`.

    Attributes:
        written: Topic, key and value of each record, in order.
        is_up: Whether producers can connect.
        answers: What the next sends do, one entry each: an error that their future gets, "lost" for one that is never
            answered, "dead" for one during which the sender ends; acknowledged where the list is empty.
        producers: All that were made.
    """

    def __init__(self):
        self.written, self.is_up, self.answers, self.producers = [], True, [], []
        self.outages = Outages()

    def async_producer(self, **settings):
        self.producers.append(FakeProducer(self))
        return self.producers[-1]


class FakeProducer(StandIn):
    def __init__(self, broker):
        super().__init__()
        self.broker = broker

    async def start(self):
        if not self.broker.is_up:
            raise KafkaConnectionError("no broker")

    async def send(self, topic, value, key, partition=None, headers=()):
        if self._closed:
            raise ProducerClosed
        future = asyncio.get_running_loop().create_future()
        answer = self.broker.answers.pop(0) if self.broker.answers else None
        if answer is None:
            self.broker.written.append((topic, key, value))
            future.set_result(None)
        elif answer == "dead":
            self._sender.sender_task.cancel()
        elif answer != "lost":
            future.set_exception(answer)
        return future
