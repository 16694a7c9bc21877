"""User states made up in bulk, with real encodings: full rings, and blocks of a longer history."""

from functools import cache

from sidestream.models.history import block_key, fold, rebase
from sidestream.models.history.layout import MAX_RING
from sidestream.models.records.times import EARLIEST_EVENT_AT
from sidestream.streams.listens.settings import LaneSettings
from tests.bench.support.rig import Log, partition_of
from tests.bench.support.work import lookup, read

BLOCK_EVENTS = 16
# Users of one call of `make_states` that fit the memory: 2 kB each, and a tenth more in Python.
CHUNK = 50_000


@cache
def _template(blocks: int) -> tuple[bytes, dict[int, bytes]]:
    """Fold one user with a full ring and so many blocks; no listen of any topic is in the state yet."""
    # A block is written when the first of its entries leaves the ring.
    count = MAX_RING + 10 if not blocks else MAX_RING + (blocks - 1) * BLOCK_EVENTS + 1
    listens = [
        read(
            b'{"event_id":"e%d","user_id":"u","item_id":"item-%d","at":%d}'
            % (number, number * 7, EARLIEST_EVENT_AT + number * 1_000)
        )
        for number in range(count)
    ]
    rows = [(offset, listen) for offset, listen in enumerate(listens) if listen is not None]
    result = fold(None, rows, lookup, LaneSettings().history_events if blocks else 0)
    if len(result.blocks) != blocks:
        raise RuntimeError(f"expected {blocks} blocks of {count} listens, got {len(result.blocks)}")
    return rebase(result.state), dict(result.blocks)


def make_states(users: range, partitions: int, blocks: int = 0) -> Log:
    """Make up records of a changelog.

    Args:
        users: Numbers of the users.
        partitions: Of the changelog.
        blocks: Blocks of each user.

    Returns:
        A state and its blocks for each user.
    """
    state, of_slots = _template(blocks)
    log: Log = [[] for _ in range(partitions)]
    for number in users:
        key = b"user-%d" % number
        # The last bytes are codes: every value differs, as real ones do.
        last = number.to_bytes(4, "little")
        records = log[partition_of(key, partitions)]
        records.append((key, state[:-4] + last))
        records += [(block_key(key, slot), block[:-4] + last) for slot, block in of_slots.items()]
    return log
