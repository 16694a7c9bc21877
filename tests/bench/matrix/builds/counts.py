"""Builds whose live counts are broken on purpose."""

import asyncio
from dataclasses import replace
from typing import Any

from sidestream.streams.listens.durable.sending import queue_batch
from sidestream.streams.listens.durable.transactions import TransactionalWriter
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.popularity.count_publisher import ItemCounting
from sidestream.streams.popularity.partition_changes import Listens, PartitionChanges
from sidestream.streams.runtime.pacing import Pacer


def counts_unfenced() -> None:
    """Send counts beside the transaction, by a producer that no heir fences."""
    producers: list[Any] = []
    publish = TransactionalWriter.publish

    async def publish_beside(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        if batch.derived:
            if not producers:
                producers.append(self._clients.async_producer())
                await producers[0].start()
            queued = await queue_batch(producers[0], self.changelog_topic, replace(batch, values={}), Pacer())
            await asyncio.gather(*(future for _, future in queued.others))
        return await publish(self, replace(batch, derived=()))

    TransactionalWriter.publish = publish_beside  # type: ignore[method-assign]


def counts_not_caught_up() -> None:
    """Take counting up where folding goes on, not where it was published last."""

    async def skip(self: ItemCounting, partition: int, changes: PartitionChanges, stop: asyncio.Event) -> None:
        changes.recount([], changes.next_offset + changes.behind)

    ItemCounting.recount = skip  # type: ignore[method-assign]


def counts_before_mark() -> None:
    """Publish counts in one transaction, and their mark in the next one."""
    publish = TransactionalWriter.publish

    async def publish_twice(self: TransactionalWriter, batch: FoldedBatch) -> int | None:
        if len(batch.derived) > 1:
            await publish(self, replace(batch, derived=batch.derived[:-1]))
            batch = replace(batch, derived=batch.derived[-1:])
        return await publish(self, batch)

    TransactionalWriter.publish = publish_twice  # type: ignore[method-assign]


def counts_ahead_twice() -> None:
    """Take twice what is counted ahead of the mark: listens folded while older ones are counted again, older parts."""
    recount = PartitionChanges.recount

    def recount_twice(self: PartitionChanges, listens: Listens, next_offset: int) -> None:
        ahead = self._added.sums()
        recount(self, listens, next_offset)
        if self.is_caught_up:
            self._counts.merge([ahead])

    PartitionChanges.recount = recount_twice  # type: ignore[method-assign]
    PartitionChanges._is_contained = lambda self, offset, listen: False  # type: ignore[method-assign]
