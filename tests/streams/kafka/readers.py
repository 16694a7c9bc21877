"""Both kinds of reader behind one asynchronous interface, so that each rule is tested on both."""

import contextlib
import inspect

from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import Place

KINDS = ("async", "blocking")


async def settle(found):
    return await found if inspect.isawaitable(found) else found


@contextlib.asynccontextmanager
async def opened(kind, cluster, partitions, **options):
    """An open follower of either kind."""
    if kind == "async":
        grows = {topic for topic, numbers in partitions.items() if numbers is None}
        numbers = {t: range(len(cluster.topics[t])) if n is None else n for t, n in partitions.items()}
        async with Follower(cluster, numbers, grows=bool(grows), seconds=cluster.seconds, **options) as follower:
            yield follower
    else:
        with BlockingFollower(cluster, partitions, seconds=cluster.seconds, **options) as follower:
            yield follower


async def batches_of(follower):
    """Batches of `to_end`, as they arrive."""
    found = follower.to_end()
    if hasattr(found, "__anext__"):
        async for batch in found:
            yield batch
    else:
        for batch in found:
            yield batch


async def offsets_to_end(follower):
    """Offsets by partition returned by `to_end`; checks that they are in order."""
    found = {}
    async for place, records in batches_of(follower):
        assert records
        assert all((record.topic, record.partition) == place for record in records)
        found.setdefault(place, []).extend(record.offset for record in records)
    for offsets in found.values():
        assert offsets == sorted(set(offsets))
    return found


T0, T1 = Place("t", 0), Place("t", 1)
