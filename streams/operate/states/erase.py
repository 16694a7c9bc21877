"""Erasure of users on request: publishes the requests, and waits until the states hold nothing of the users any more.

A worker applies a request in the partition of the request, so it is published to the partition of the user's key. Where
a producer used another partitioner, states of the user lie elsewhere, and no worker would look for them: the whole
changelog is searched, and each other partition that holds the user gets a request of its own, marked by `STRAY_HEADER`.

An erasure is done in a partition once the changelog shows it (a state that knows the erasure, and no older block), or
the group has committed the request, which workers do together with the changes or after them; and nothing older is
left. The table of the owner is written within the same batch.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from kafka import KafkaProducer
from kafka.errors import KafkaError
from pydantic import ValidationError

from sidestream.models.records import UserErasure
from sidestream.models.records.faults import faults
from sidestream.streams.errors import BrokerError, SettingsError
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import NO_PROGRESS_S, Start
from sidestream.streams.listens.erasure.requests import STRAY_HEADER
from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.operate.states.user_values import UserValues

_POLL_MS = 100
_POLL_RECORDS = 5_000
_ASK_EVERY_S = 1.0
_SEND_S = 30.0

Progress = Callable[[int, int], None]
"""Called with the number of changelog records that were searched, and of all."""


@dataclass(slots=True)
class UserReport:
    """What became of one user's erasure.

    Attributes:
        user_id: The user.
        partition: Partition of the user's key, and of the request.
        offset: Offset of the request.
        found_in: Changelog partitions that held something of the user when they were read.
        misplaced_in: Of these, those that are not the user's.
        waits_for: Partitions where the erasure is not known to be done.
    """

    user_id: str
    partition: int
    offset: int
    found_in: list[int] = field(default_factory=list)
    misplaced_in: list[int] = field(default_factory=list)
    waits_for: list[int] = field(default_factory=list)


class EraseUsers:
    """One run of `sidestream state erase`.

    Args:
        offline: The states.
        group_ids: Consumer groups that the workers may have.
        users: User ids.
        at: Everything up to this time is erased, UTC epoch ms.

    Raises:
        SettingsError: A user id or the time is outside the contract.
    """

    def __init__(self, offline: OfflineStates, group_ids: Collection[str], users: Sequence[str], at: int) -> None:
        self._offline = offline
        self._groups = [replace(offline, group_id=group_id) for group_id in group_ids]
        self._at = at
        self._topic = offline.topics.user_erasures.name
        self._values = [(user.encode(), _request(user, at)) for user in dict.fromkeys(users)]
        self._held = UserValues([user for user, _ in self._values])
        self._reports: dict[bytes, UserReport] = {}
        # Offset of the request by user and partition.
        self._asked: dict[tuple[bytes, int], int] = {}
        self._committed: dict[int, int] = {}

    async def run(
        self, *, search: bool, timeout_s: float, progress: Progress = lambda done, total: None
    ) -> list[UserReport]:
        """Publish the requests and wait.

        Args:
            search: Read the whole changelog; otherwise only what is written from now on.
            timeout_s: How long to wait for the workers, after the search.
            progress: Called during the search.

        Returns:
            One report per user; all is done where `waits_for` is empty.

        Raises:
            LaneError: The changelog does not exist.
            BrokerError: Kafka does not answer, or does not take a request.
        """
        changelog = self._offline.identity.changelog_topic
        found = await asyncio.to_thread(self._offline.existing_topics)
        partitions = range(found[changelog].partitions)
        producer = await asyncio.to_thread(self._offline.clients.producer)
        try:
            start: Start = "beginning" if search else "end"
            async with Follower(self._offline.clients, {changelog: partitions}, start=start, restarts=False) as log:
                await asyncio.to_thread(self._ask_owners, producer)
                await self._search(log, progress)
                await asyncio.to_thread(self._ask_strays, producer)
                await self._wait(log, timeout_s)
        finally:
            await asyncio.to_thread(producer.close)
        return list(self._reports.values())

    async def send(self) -> list[UserReport]:
        """Publish the requests to the partitions of the users' keys, and wait for nothing.

        Returns:
            One report per user, without anything on where it was found.

        Raises:
            BrokerError: Kafka does not take a request.
        """
        producer = await asyncio.to_thread(self._offline.clients.producer)
        try:
            await asyncio.to_thread(self._ask_owners, producer)
        finally:
            await asyncio.to_thread(producer.close)
        return list(self._reports.values())

    def num_workers(self) -> int:
        """Count the workers of the groups that could apply the requests.

        Returns:
            Their number.

        Raises:
            BrokerError: Kafka does not describe a group.
        """
        try:
            return sum(group.members() for group in self._groups)
        except KafkaError as exc:
            msg = f"group {self._offline.group_id}: Kafka does not describe it ({exc!r}); check the broker"
            raise BrokerError(msg) from exc

    def _ask_owners(self, producer: KafkaProducer) -> None:
        for user, _ in self._values:
            partition = self._offline.partition_of(user)
            self._ask(producer, user, partition, [])
            offset = self._asked[user, partition]
            self._reports[user] = UserReport(user.decode(), partition, offset)

    def _ask_strays(self, producer: KafkaProducer) -> None:
        for user, report in self._reports.items():
            report.found_in = self._held.partitions(user)
            report.misplaced_in = [partition for partition in report.found_in if partition != report.partition]
            for partition in report.misplaced_in:
                self._ask(producer, user, partition, [(STRAY_HEADER, b"1")])

    def _ask(self, producer: KafkaProducer, user: bytes, partition: int, headers: list[tuple[str, bytes]]) -> None:
        value = dict(self._values)[user]
        try:
            future = producer.send(self._topic, key=user, value=value, partition=partition, headers=headers)
            producer.flush(timeout=_SEND_S)
            self._asked[user, partition] = future.get(timeout=1).offset
        except KafkaError as exc:
            msg = f"{self._topic}/{partition}: the request was not delivered: {exc!r}; check the broker and try again"
            raise BrokerError(msg) from exc

    async def _search(self, log: Follower, progress: Progress) -> None:
        total, moved_s = log.behind, time.monotonic()
        before = dict(log.positions)
        while not log.is_caught_up:
            await self._read(log)
            progress(total - log.behind, total)
            if log.positions != before:
                before, moved_s = dict(log.positions), time.monotonic()
            elif time.monotonic() - moved_s > NO_PROGRESS_S:
                msg = (
                    f"changelog {self._offline.identity.changelog_topic}: no progress for {NO_PROGRESS_S:.0f} s, "
                    f"{log.behind} offsets are left; the requests are stored; check the broker and run this again"
                )
                raise BrokerError(msg)

    async def _wait(self, log: Follower, timeout_s: float) -> None:
        until_s, ask_s = time.monotonic() + timeout_s, 0.0
        while True:
            if time.monotonic() >= ask_s:
                await asyncio.to_thread(self._read_committed)
                ask_s = time.monotonic() + _ASK_EVERY_S
            await self._read(log)
            for user, report in self._reports.items():
                report.waits_for = [p for key, p in self._asked if key == user and not self._is_done(user, p)]
            if not any(report.waits_for for report in self._reports.values()) or time.monotonic() > until_s:
                return

    async def _read(self, log: Follower) -> None:
        for place, records in await log.poll(_POLL_MS, _POLL_RECORDS):
            self._held.read(place.partition, records)

    def _read_committed(self) -> None:
        for group in self._groups:
            # Without the right to see the group's offsets, the changelog alone must show it.
            with contextlib.suppress(KafkaError):
                for partition, offset in group.committed(self._topic).items():
                    self._committed[partition] = max(offset, self._committed.get(partition, 0))

    def _is_done(self, user: bytes, partition: int) -> bool:
        if self._held.keeps(user, partition, self._at):
            return False
        is_committed = self._committed.get(partition, 0) > self._asked[user, partition]
        return is_committed or self._held.is_erased(user, partition, self._at)


def _request(user: str, at: int) -> bytes:
    try:
        return UserErasure(erasure_id=str(uuid.uuid4()), user_id=user, at=at).to_json()
    except ValidationError as exc:
        msg = f"erase: {'; '.join(faults(exc))}"
        raise SettingsError(msg) from exc
