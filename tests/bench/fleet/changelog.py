"""A changelog of user states as a lane leaves it after days, made up by the lane's own fold and erasures.

Each partition begins with the origin record. Then come two sections, as Kafka's log cleaner leaves them:

* the cleaned section has one record for each key, in the small batches that are left of the lane's transactions once
  the superseded records are gone: 1 to 3 records and the marker of the commit, which the cleaner keeps as long as one
  record of its transaction. Most are blocks, which are never superseded until their slot is used again. One user in 50
  has been removed: a tombstone for the state and one for each block;
* the dirty section is what was written since: transactions of some 12 listens (8 partitions, 100 ms, 1,000 listens/s),
  each state superseding the user's former one, blocks that leave full rings, and in one transaction of 40 the erasure
  of a user: a state of 27 bytes, and a tombstone for each block. One transaction of 50 was aborted and then repeated.

A broker cleans once half of the log is dirty, so the dirty section has between none and half of it; here 40 % of the
records. What the cleaner does is made up too: the offsets have no gaps, which cost a reader nothing.

Source: Apache Kafka, `LogCleaner` and `CleanedTransactionMetadata` (markers), `min.cleanable.dirty.ratio`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import block_key, erase_all, fold, rebase, split_block_key
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.listens.settings import LaneSettings
from tests.bench.support.rig import partition_of
from tests.bench.support.work import NUM_ITEMS, lookup

Values = dict[bytes, bytes | None]

# Listens of a user so far, and the share of the users: most have listened little, some have all blocks.
_LISTENS = {2: 0.10, 8: 0.14, 24: 0.16, 51: 0.16, 90: 0.16, 160: 0.14, 300: 0.09, 620: 0.05}
_LISTENS_OF_TRANSACTION = 12
_REMOVED, _ERASED, _ABORTED = 50, 40, 50
_DIRTY_SHARE = 0.4


class Transaction(NamedTuple):
    """Values that one transaction of a partition wrote, and whether it was aborted."""

    values: Values
    is_aborted: bool = False


@dataclass
class Changelog:
    """Transactions of the partitions, and the table that they amount to.

    Attributes:
        log: Transactions by partition, in order.
        final: What a table holds at the end, by partition.
    """

    log: list[list[Transaction]]
    final: list[dict[bytes, bytes]] = field(default_factory=list)

    def committed(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Iterate over all committed records."""
        for transactions in self.log:
            for values, is_aborted in transactions:
                if not is_aborted:
                    yield from values.items()

    def shares(self) -> Mapping[str, float]:
        """Count what it holds.

        Returns:
            The number of committed records; of these the shares of states, blocks, tombstones and of records that a
            later one supersedes; records of aborted transactions and markers per committed record; and bytes.
        """
        records = list(self.committed())
        total, kinds = len(records), {"states": 0, "blocks": 0, "tombstones": 0}
        for key, value in records:
            kinds["tombstones" if value is None else "states" if split_block_key(key) is None else "blocks"] += 1
        transactions = [transaction for of_partition in self.log for transaction in of_partition]
        aborted = sum(len(values) for values, is_aborted in transactions if is_aborted)
        keys = sum(len({key for one in of_partition for key in one.values}) for of_partition in self.log)
        per_record = {**kinds, "superseded": total - keys, "aborted": aborted, "markers": len(transactions)}
        size = sum(len(key) + len(value or b"") for key, value in records)
        return {"records": total, "bytes": size, **{name: count / total for name, count in per_record.items()}}


def make_changelog(records: int, partitions: int, origin: tuple[bytes, bytes], seed: int = 1) -> Changelog:
    """Make up a changelog.

    Args:
        records: Committed records, roughly.
        partitions: Of the changelog.
        origin: Key and value of the origin record.
        seed: Of everything random.

    Returns:
        The changelog.
    """
    rng = np.random.default_rng(seed)
    per_user = sum(share * (1 + len(_history(count)[1])) for count, share in _LISTENS.items())
    users = max(partitions, round(records * (1 - _DIRTY_SHARE) / per_user))
    changelog = Changelog([[Transaction({origin[0]: origin[1]})] for _ in range(partitions)])
    of_partition: list[list[int]] = [[] for _ in range(partitions)]
    for number in range(users):
        of_partition[partition_of(_user(number), partitions)].append(number)
    for numbers, log in zip(of_partition, changelog.log, strict=True):
        cleaned = _cleaned(numbers, rng)
        log += cleaned
        table = {key: value for one in (log[0], *cleaned) for key, value in one.values.items() if value is not None}
        log += _dirty(table, numbers, round(len(numbers) / users * records * _DIRTY_SHARE), rng)
        changelog.final.append(table)
    return changelog


def _user(number: int) -> bytes:
    return b"user-%d" % number


@cache
def _history(count: int) -> tuple[bytes, Mapping[int, bytes]]:
    """Fold a user of so many listens; no listen of any topic is in the state yet."""
    listens = [(at, _listen(at, at * 7, EARLIEST_EVENT_AT + at * 1_000)) for at in range(count)]
    result = fold(None, listens, lookup, LaneSettings().history_events)
    return rebase(result.state), dict(result.blocks)


def _listen(number: int, item: int, at: int) -> ListenRow:
    return ListenRow(event_id=f"e{number}", user_id="u", item_id=f"item-{item}", at=at)


def _cleaned(numbers: list[int], rng: np.random.Generator) -> list[Transaction]:
    """Make the cleaned section: the last value of each key, in no order of the users, tombstones at the end."""
    rows: list[tuple[bytes, bytes | None]] = []
    removed: list[tuple[bytes, bytes | None]] = []
    counts = rng.choice(list(_LISTENS), len(numbers), p=list(_LISTENS.values())).tolist()
    for number, count in zip(numbers, counts, strict=True):
        user, (state, blocks) = _user(number), _history(count)
        # The last bytes are codes: every value differs, as real ones do.
        last = number.to_bytes(4, "little")
        keys = {block_key(user, slot): block[:-4] + last for slot, block in blocks.items()} | {user: state[:-4] + last}
        if number % _REMOVED == 0:
            removed += dict.fromkeys(keys).items()
        else:
            rows += keys.items()
    rows = [rows[at] for at in rng.permutation(len(rows))] + removed
    transactions, at = [], 0
    for size in rng.integers(1, 4, len(rows)).tolist():
        if at < len(rows):
            transactions.append(Transaction(dict(rows[at : at + size])))
            at += size
    return transactions


def _dirty(
    table: dict[bytes, bytes], numbers: list[int], records: int, rng: np.random.Generator
) -> Iterator[Transaction]:
    """Fold listens and erasures onto a table until there are so many records."""
    weights = rng.lognormal(0.0, 1.0, len(numbers))
    weights /= weights.sum()
    written, offset, round_number = 0, 0, 0
    blocks: dict[bytes, dict[int, bytes]] = {}
    for key, value in table.items():
        if (found := split_block_key(key)) is not None:
            blocks.setdefault(found[0], {})[found[1]] = value
    while written < records and numbers:
        round_number += 1
        values: Values = {}
        if round_number % _ERASED == 2:
            user = _user(int(rng.choice(numbers)))
            at = EARLIEST_EVENT_AT + 1_000_000 + offset
            state, changes = erase_all(table.get(user), blocks.get(user, {}), at)
            values = {user: state, **{block_key(user, slot): block for slot, block in changes.items()}}
            blocks.pop(user, None)
        else:
            of_user: dict[bytes, list[tuple[int, ListenRow]]] = {}
            count = 1 + int(rng.poisson(_LISTENS_OF_TRANSACTION - 1))
            for number in rng.choice(numbers, count, p=weights).tolist():
                item, offset = int(rng.integers(NUM_ITEMS)), offset + 1
                at = EARLIEST_EVENT_AT + 1_000_000 + offset
                of_user.setdefault(_user(number), []).append((offset, _listen(1_000_000 + offset, item, at)))
            for user, listens in of_user.items():
                result = fold(table.get(user), listens, lookup, LaneSettings().history_events)
                values |= {block_key(user, slot): block for slot, block in result.blocks.items()}
                values[user] = result.state
                blocks.setdefault(user, {}).update(result.blocks)
        if round_number % _ABORTED == 1:
            yield Transaction(values, is_aborted=True)
        yield Transaction(values)
        written += len(values)
        for key, new in values.items():
            if new is None:
                table.pop(key, None)
            else:
                table[key] = new
