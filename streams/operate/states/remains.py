"""What is left of erased users: in the changelog, and in local tables, those included that no worker needs any more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from sidestream.models.errors import StateError
from sidestream.models.history import keeps_erased, split_block_key
from sidestream.models.history.blocks import KEY_MARK
from sidestream.models.history.layout import NO_ERASURE, decode
from sidestream.models.records import UserErasure
from sidestream.streams.operate.states.offline import OfflineStates


@dataclass(slots=True)
class Asked:
    """Requests to erase users that are on `user-erasures.v1`.

    Attributes:
        applied: Latest time up to which a user was erased, by key: requests before the group's committed offsets.
        pending: Number of the other ones.
    """

    applied: dict[bytes, int] = field(default_factory=dict)
    pending: int = 0


async def read_asked(offline: OfflineStates, committed: Mapping[int, int]) -> Asked:
    """Read the requests that no sweep has ended yet.

    Args:
        offline: The states.
        committed: The group's offsets of the requests, by partition.

    Returns:
        The requests.
    """
    asked, topic = Asked(), offline.topics.user_erasures.name
    if topic not in offline.existing_topics():
        return asked
    for partition in range(offline.identity.num_partitions):
        last = {record.key: record async for record in offline.read(topic, partition)}
        for user, record in last.items():
            if record.value is None:
                continue
            try:
                at = UserErasure.from_json(record.value).at
            except ValidationError:  # it is among the dead letters
                continue
            if record.offset < committed.get(partition, 0):
                asked.applied[user] = max(at, asked.applied.get(user, at))
            else:
                asked.pending += 1
    return asked


def kept_in_changelog(values: Mapping[bytes, bytes], asked: Asked) -> list[bytes]:
    """Return the users who were erased, and of whom a changelog partition holds what is older.

    Args:
        values: Last values of the partition, by key.
        asked: Requests of all partitions: a state may lie in a partition that is not its user's.

    Returns:
        Keys of the users, sorted.
    """
    return sorted(
        user
        for user, (state, blocks) in _by_user(values)
        if (at := asked.applied.get(user)) is not None and keeps_erased(state, blocks, at)
    )


def kept_in_table(values: Mapping[bytes, bytes], changelog: Mapping[bytes, bytes], asked: Asked) -> list[bytes]:
    """Return the users of a local table who were erased since it was written.

    Args:
        values: Values of the table, by key.
        changelog: Last values of the changelog partition: its users are those who were not removed.
        asked: Requests that were not ended yet; afterwards the changelog does not hold the user.

    Returns:
        Keys of the users, sorted.
    """
    found = []
    for user, (state, blocks) in _by_user(values):
        known = changelog.get(user)
        ats = [NO_ERASURE if known is None else _erased_at(known), asked.applied.get(user, NO_ERASURE)]
        if known is None or keeps_erased(state, blocks, max(ats)):
            found.append(user)
    return sorted(found)


def misplaced_users(offline: OfflineStates, partition: int, values: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the users of a changelog partition whose keys belong to another one, sorted."""
    return sorted(user for user, _ in _by_user(values) if offline.partition_of(user) != partition)


def _by_user(values: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, tuple[bytes | None, list[bytes]]]]:
    """Yield each user of some values with the state, None if there are only blocks, and the blocks."""
    states: dict[bytes, bytes | None] = {}
    blocks: dict[bytes, list[bytes]] = {}
    for key, value in values.items():
        if not key.startswith(KEY_MARK):
            states[key] = value
        elif (split := split_block_key(key)) is not None:
            states.setdefault(split[0], None)
            blocks.setdefault(split[0], []).append(value)
    for user, state in states.items():
        yield user, (state, blocks.get(user, []))


def _erased_at(state: bytes) -> int:
    try:
        return decode(state).erased_at
    except StateError:
        return NO_ERASURE
