"""Follows the control topics for an operator's command: all orders, and the workers with a recent report."""

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
    """Follows both topics from their beginning; must be closed.

    Args:
        clients: Kafka clients.
        topics: All topics.
        groups: The workers' consumer groups.
        silent_s: Workers without a report for this long count as gone.
        seconds: Monotonic clock in seconds.

    Raises:
        TopicError: The control topics do not exist.
        BrokerError: Kafka does not answer.

    Attributes:
        orders: State of the control topics.
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
        self._reported_s: dict[bytes, float] = {}
        names = (topics.generations.name, topics.generation_reports.name)
        self._follower = BlockingFollower(clients, dict.fromkeys(names))
        self._read_to_end()
        # These reports may be from workers that ended long ago: only later ones show that a worker is alive.
        self._reported_s.clear()

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()

    def poll(self) -> None:
        """Apply new records.

        Raises:
            BrokerError: Kafka does not answer.
        """
        self._apply(self._follower.poll(_POLL_MS))

    def workers(self) -> list[GenerationReport]:
        """Return the last report of every worker that has reported recently."""
        until_s = self._seconds() - self._silent_s
        reports = self.orders.workers().values()
        return [report for report in reports if self._reported_s.get(report.key.encode(), -float("inf")) >= until_s]

    def members(self) -> int:
        """Count the members of the workers' groups.

        Returns:
            The number of members; 1 for the embedded broker, which runs inside its only worker.

        Raises:
            BrokerError: Kafka does not describe the groups.
        """
        if self._clients.is_embedded:
            return 1
        if self._seconds() < self._counted[1] + _COUNT_S:
            return self._counted[0]
        admin, admin_logger = self._clients.admin(), logging.getLogger("kafka.admin")
        level = admin_logger.level
        try:
            # It cannot decode Faust's member metadata, and would log that for every member.
            admin_logger.setLevel(logging.ERROR)
            groups = admin.describe_groups(self._groups)
        except KafkaError as exc:
            msg = (
                f"groups {', '.join(self._groups)}: Kafka does not describe them ({exc!r}); check the broker and its "
                "permissions"
            )
            raise BrokerError(msg) from exc
        finally:
            admin_logger.setLevel(level)
            admin.close()
        count = sum(len(found["members"]) for found in groups.values() if found["group_state"] not in _IDLE_GROUPS)
        self._counted = (count, self._seconds())
        return count

    def order(self, generation: Generation) -> None:
        """Publish an order and wait until it is read back.

        Args:
            generation: The order.

        Raises:
            BrokerError: The order was not acknowledged.
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
        self._apply(self._follower.to_end())

    def _apply(self, batches: Iterable[Batch]) -> None:
        for place, records in batches:
            for record in records:
                try:
                    if place.topic == self._topics.generations.name:
                        self.orders.order(record.key, record.value, record.offset)
                    else:
                        self.orders.report(record.key, record.value)
                        self._reported_s[record.key] = self._seconds()
                except BadRecord:
                    continue  # workers skip it too, and log it
