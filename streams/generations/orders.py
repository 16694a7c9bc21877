"""Orders and progress of generations: a fold of the two control topics. Pure, and independent of where reading began.

Everything follows from the last record of each key and the order of those records in the topic. So a worker that starts
after compaction has the same state as one that read every record, and records in an order that no command would write
are still unambiguous: of the records of phase `active` the last one counts, regardless of earlier ones.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from sidestream.models.records import Generation, GenerationReport
from sidestream.models.records.generations import Progress, partition_key
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.errors import BadRecord

_RecordT = TypeVar("_RecordT", Generation, GenerationReport)


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """The tokenizer versions that a worker has to load.

    Attributes:
        active: Version that serves.
        live: All versions that values of `item-sids.v1` contain, the active one first.
        preparing: Version that is to serve next; `None` outside a rollout.
    """

    active: str
    live: tuple[str, ...]
    preparing: str | None


class Orders:
    """The state of the control topics."""

    def __init__(self) -> None:
        self._ordered: dict[str, tuple[int, Generation]] = {}
        self._reports: dict[str, GenerationReport] = {}

    def order(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Apply a record of `generations.v1`.

        Args:
            key: The tokenizer version.
            value: JSON; `None` removes the version.
            offset: Offset of the record.

        Raises:
            BadRecord: The record breaks the contract; the state is unchanged.
        """
        version = _text(key)
        if value is None:
            self._ordered.pop(version, None)
            return
        generation = _parsed(Generation, value)
        if generation.version != version:
            raise BadRecord(Reason.KEY_MISMATCH, f"expected key {generation.version!r}, got {version!r}")
        self._ordered[version] = (offset, generation)

    def report(self, key: bytes | None, value: bytes | None) -> None:
        """Apply a record of `generation-reports.v1`.

        Args:
            key: Key of the worker or partition.
            value: JSON; `None` removes the report.

        Raises:
            BadRecord: The record breaks the contract; the state is unchanged.
        """
        name = _text(key)
        if value is None:
            self._reports.pop(name, None)
            return
        report = _parsed(GenerationReport, value)
        if report.key != name:
            raise BadRecord(Reason.KEY_MISMATCH, f"expected key {report.key!r}, got {name!r}")
        self._reports[name] = report

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All versions with an order, the latest order last."""
        return tuple(generation for _, generation in sorted(self._ordered.values(), key=lambda entry: entry[0]))

    @property
    def active(self) -> Generation | None:
        """The generation that serves. `None` if none was ordered: then each worker serves its own pair."""
        return next((found for found in reversed(self.generations) if found.phase == "active"), None)

    @property
    def preparing(self) -> Generation | None:
        """The generation under preparation that was ordered last."""
        return next((found for found in reversed(self.generations) if found.phase == "preparing"), None)

    @property
    def retired(self) -> frozenset[str]:
        """Versions whose last order retires them."""
        return frozenset(found.version for found in self.generations if found.phase == "retired")

    @property
    def standby(self) -> Generation | None:
        """The generation to roll back to: the one that served before the active one."""
        active = self.active
        return next((g for g in reversed(self.generations) if g.phase in ("active", "standby") and g != active), None)

    def find(self, version: str) -> Generation | None:
        """Return the last order of a tokenizer version, or `None`."""
        entry = self._ordered.get(version)
        return None if entry is None else entry[1]

    def plan(self, own_version: str) -> GenerationPlan:
        """Return the versions that a worker has to load.

        Args:
            own_version: Version of the worker's own pair, which serves if no other was ordered.

        Returns:
            The plan.
        """
        active = own_version if self.active is None else self.active.version
        others = [found.version for found in self.generations if found.phase != "retired" and found.version != active]
        preparing = self.preparing
        return GenerationPlan(active, (active, *others), None if preparing is None else preparing.version)

    def wanted(self, held: Collection[str]) -> dict[str, Progress | None]:
        """Return the target state of the values in every catalogue partition of an agent.

        Args:
            held: Versions that the agent tokenizes under.

        Returns:
            By version: held in all values, dropped from all, or `None` if the agent cannot carry out the order. A
            retired version that still serves, because no other may, is held.
        """
        return {
            version: "held" if version in held else "dropped" if generation.phase == "retired" else None
            for version, (_, generation) in self._ordered.items()
        }

    def unsettled(self, partition: int, held: Collection[str]) -> bool:
        """Whether the values of a catalogue partition must be rewritten.

        Args:
            partition: The partition.
            held: Versions that its agent tokenizes under.

        Returns:
            Whether one of these versions is missing in some of its values, or a retired one is still in some.
        """
        wanted = self.wanted(held).items()
        return any(state is not None and self.partition_state(v, partition) != state for v, state in wanted)

    def partition_state(self, version: str, partition: int) -> Progress | None:
        """Return the last reported state of a version in a catalogue partition: held, dropped or `None`."""
        report = self._reports.get(partition_key(version, partition))
        return None if report is None else report.progress

    def workers(self) -> dict[str, GenerationReport]:
        """Return the last report of every worker, by its name."""
        return {report.worker: report for report in self._reports.values() if report.worker is not None}


def _text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError as exc:
        raise BadRecord(Reason.BAD_VALUE, f"key: expected UTF-8, got {key!r}") from exc


def _parsed(model: type[_RecordT], value: bytes) -> _RecordT:
    try:
        return model.from_json(value)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRecord(Reason.BAD_VALUE, f"{where or 'value'}: {first['msg']}") from exc
