"""Builds that are broken on purpose, each in one promise of the lane's protocol: the judge must see each of them."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streams.lane.table.users import UserTable
from streams.lane.writing.transactions import TransactionalWriter
from streams.lane.writing.writer import FoldedBatch
from tests.bench.matrix.faults import TRANSACTION_POINTS, FaultyClients

SKIPPED_RECORDS = 3


@dataclass(frozen=True)
class BrokenBuild:
    """How it is made, and which faults bring it to light."""

    install: Callable[[], None]
    points: tuple[str, ...] = ()
    pauses: bool = False


def _table_before_commit() -> None:
    """Write RocksDB before Kafka has acknowledged the commit."""
    tables: dict[int, Any] = {}
    opened, publish = UserTable.open, TransactionalWriter.publish

    def open_and_keep(self: UserTable, *args: Any, **options: Any) -> Any:
        found = opened(self, *args, **options)
        tables.update(found)
        return found

    async def write_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        table = tables[batch.partition]
        offset = table.positions.changelog_offset + len(batch.values)
        positions = replace(table.positions, changelog_offset=offset, source_next=batch.next_offset)
        await asyncio.to_thread(table.write, batch.values, positions)
        return await publish(self, batch)

    UserTable.open = open_and_keep  # type: ignore[method-assign]
    TransactionalWriter.publish = write_then_publish  # type: ignore[method-assign]


def _offsets_before_changelog() -> None:
    """Commit the source offset in a transaction of its own, before the values are on the changelog."""
    publish = TransactionalWriter.publish

    async def commit_then_publish(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        await publish(self, replace(batch, values={}, dead_letters=()))
        return await publish(self, batch)

    TransactionalWriter.publish = commit_then_publish  # type: ignore[method-assign]


def _no_fence() -> None:
    """Give every process transactional ids of its own: nobody is ever fenced."""
    FaultyClients.rename = staticmethod(lambda name: f"{name}-{os.getpid()}")


def _dirty_restore() -> None:
    """Restore what was never committed, too."""
    FaultyClients.isolates = False


def _restore_skips() -> None:
    """Begin the restore a few records after the stored position."""
    FaultyClients.restore_skip = SKIPPED_RECORDS


BROKEN: Mapping[str, BrokenBuild] = {
    "table_before_commit": BrokenBuild(_table_before_commit, ("begin", "send", "sent", "offsets", "commit")),
    "offsets_before_changelog": BrokenBuild(_offsets_before_changelog, TRANSACTION_POINTS),
    # Before the transaction is open: an open one holds the heir's restore up until the broker aborts it.
    "no_fence": BrokenBuild(_no_fence, ("fold", "folded", "begin", "send"), pauses=True),
    "dirty_restore": BrokenBuild(_dirty_restore, ("sent", "offsets", "commit")),
    "restore_skips": BrokenBuild(_restore_skips, ("committed", "write")),
}
