"""Preconditions for joining the group: Kafka answers, its topics match the contract, the group has a coordinator."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from kafka.errors import KafkaError
from mode import Service

from sidestream.streams.contracts.topics import Topics, require_topics
from sidestream.streams.errors import AccessError, BrokerError, TopicError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.worker.coordinator import has_coordinator

_RETRY_S = 0.5
_CONNECT_S = 2.0
_COORDINATOR_S = 15.0
_COORDINATOR_RETRY_S = 0.1


class TopicGate(Service):
    """Waits for Kafka, then checks the topics; the worker does not start without them.

    Args:
        clients: Kafka clients.
        topics: Topics that must exist.
        wait_s: How long Kafka may not answer.
        group_id: Group that the worker joins; its coordinator is awaited, too. `None` skips that.
        seconds: Monotonic clock in seconds.
        has_coordinator: Asks Kafka for the coordinator; `None` means that Kafka refuses to answer.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topics: Topics,
        wait_s: float,
        group_id: str | None = None,
        seconds: Callable[[], float] = time.monotonic,
        has_coordinator: Callable[[Clients, str], Awaitable[bool | None]] = has_coordinator,
    ) -> None:
        super().__init__()
        self._clients = clients
        self._topics = topics
        self._wait_s = wait_s
        self._group_id = group_id
        self._seconds = seconds
        self._has_coordinator = has_coordinator
        self._reasons = ["kafka: topics not checked yet"]

    def not_ready(self) -> list[str]:
        """Return what is awaited."""
        return self._reasons

    async def on_start(self) -> None:
        """Check, in a thread because the admin client blocks.

        Raises:
            AccessError: Authentication or the TLS handshake failed: waiting would not help.
            BrokerError: Kafka did not answer in time.
            TopicError: Topics differ from the contract.
        """
        until_s = self._seconds() + self._wait_s
        while not self.should_stop:
            if not (last_error := await self._answer()):
                if self._group_id is not None:
                    await self._await_coordinator(self._group_id)
                self._reasons = []
                return
            if self._seconds() >= until_s:
                msg = (
                    f"kafka: no answer from {self._clients.bootstrap} for {self._wait_s:.0f} s; start it "
                    "(`sidestream broker start`) or correct --set kafka.bootstrap=… (SIDESTREAM_KAFKA__BOOTSTRAP) "
                    f"and kafka.security; last attempt: {last_error}"
                )
                raise BrokerError(msg)
            self._reasons = [f"kafka: no answer from {self._clients.bootstrap} yet"]
            await self.sleep(_RETRY_S)

    async def _answer(self) -> str:
        """Check the topics; return why Kafka did not answer, if it did not."""
        try:
            # The admin client itself would block for a long time without giving a reason.
            await self._clients.log_in(_CONNECT_S)
            await asyncio.to_thread(self._require)
        except AccessError:
            raise
        except BrokerError as exc:
            return str(exc)
        except TopicError as exc:
            if not isinstance(exc.__cause__, KafkaError):
                raise
            return str(exc)  # the broker went away after the login
        return ""

    async def _await_coordinator(self, group_id: str) -> None:
        """Wait until Kafka has a coordinator for the group: a new Kafka creates its offsets topic at the first request.

        Faust's client would ask at once and report an error. After the deadline, or on a permanent refusal, Faust's
        client is left to report it.
        """
        self._reasons = [f"kafka: no coordinator of group {group_id} yet"]
        until_s = self._seconds() + _COORDINATOR_S
        while not self.should_stop and self._seconds() < until_s:
            if await self._has_coordinator(self._clients, group_id) is not False:
                return
            await self.sleep(_COORDINATOR_RETRY_S)

    def _require(self) -> None:
        admin = KafkaTopicAdmin(self._clients)
        try:
            require_topics(admin, self._topics)
        finally:
            admin.close()
