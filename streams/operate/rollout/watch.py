"""The control topics as an operator's command sees them: all orders, and who was heard of lately."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from kafka.errors import KafkaError

from sidestream.models.records import Generation, GenerationReport
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, BrokerError
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Batch

_POLL_MS = 100
_COUNT_S = 1.0
_IDLE_GROUPS = ("Empty", "Dead")


class ControlWatch:
    """Reads both topics from their start and goes on; close it.

    Args:
        clients: The Kafka.
        topics: All topics.
        groups: The workers' consumer groups.
        silent_s: Workers that said nothing for so long count as gone.
        seconds: Monotonic clock in seconds.

    Raises:
        TopicError: There is no control topic.
        BrokerError: Kafka does not answer.

    Attributes:
        orders: All so far.
    """

    def __init__(
        self,
        clients: Clients,
        topics: Topics,
        groups: Sequence[str],
        silent_s: float,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.orders = Orders()
        self._clients = clients
        self._topics = topics
        self._groups = list(groups)
        self._silent_s = silent_s
        self._seconds = seconds
        self._counted = (0, -float("inf"))
        self._heard_s: dict[bytes, float] = {}
        names = (topics.generations.name, topics.generation_reports.name)
        self._follower = BlockingFollower(clients, dict.fromkeys(names))
        self._read_to_end()
        # Who is named there may be gone long since: only what comes from now on was said by somebody alive.
        self._heard_s.clear()

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()

    def look(self) -> None:
        """Take what has come.

        Raises:
            BrokerError: Kafka does not answer.
        """
        self._take(self._follower.poll(_POLL_MS))

    def workers(self) -> list[GenerationReport]:
        """Return the last word of every worker heard of lately."""
        until_s = self._seconds() - self._silent_s
        reports = self.orders.workers().values()
        return [report for report in reports if self._heard_s.get(report.key.encode(), -float("inf")) >= until_s]

    def members(self) -> int:
        """Count the workers that Kafka knows.

        Returns:
            Members of the groups; 1 where the broker is the embedded one, inside its only worker.

        Raises:
            BrokerError: Kafka does not say.
        """
        if self._clients.is_embedded:
            return 1
        if self._seconds() < self._counted[1] + _COUNT_S:
            return self._counted[0]
        admin, chatter = self._clients.admin(), logging.getLogger("kafka.admin")
        level = chatter.level
        try:
            # It cannot read what Faust says of itself, and would tell so for every member.
            chatter.setLevel(logging.ERROR)
            groups = admin.describe_groups(self._groups)
        except KafkaError as exc:
            msg = f"groups {', '.join(self._groups)}: Kafka does not describe them ({exc!r}); check broker and rights"
            raise BrokerError(msg) from exc
        finally:
            chatter.setLevel(level)
            admin.close()
        count = sum(len(found["members"]) for found in groups.values() if found["group_state"] not in _IDLE_GROUPS)
        self._counted = (count, self._seconds())
        return count

    def order(self, generation: Generation) -> None:
        """Publish an order and wait until it is read back.

        Args:
            generation: The order.

        Raises:
            BrokerError: Kafka did not take it.
        """
        producer = self._clients.producer()
        try:
            producer.send(
                self._topics.generations.name, key=generation.version.encode(), value=generation.to_json(), partition=0
            ).get(timeout=30)
        except KafkaError as exc:
            msg = f"{self._topics.generations.name}: an order was not acknowledged ({exc!r}); check the broker"
            raise BrokerError(msg) from exc
        finally:
            producer.close()
        self._read_to_end()

    def _read_to_end(self) -> None:
        self._follower.set_targets()
        self._take(self._follower.to_end())

    def _take(self, batches: Iterable[Batch]) -> None:
        for place, records in batches:
            for record in records:
                try:
                    if place.topic == self._topics.generations.name:
                        self.orders.order(record.key, record.value, record.offset)
                    else:
                        self.orders.report(record.key, record.value)
                        self._heard_s[record.key] = self._seconds()
                except BadRecord:
                    continue  # workers skip it too, and say so
