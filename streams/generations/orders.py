"""What is ordered and what is done: a fold of the two control topics. Pure, and the same wherever one began to read.

Everything follows from the last record of each key and the order in which those stand in the topic. So a worker that
starts after compaction knows what one knows that saw every record, and records in an order that no command would write
still mean one thing: of the records of phase `active` the last one counts, whatever came before it.
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
class Plan:
    """What a worker is to hold.

    Attributes:
        active: Tokenizer version that serves.
        live: All that values of `item-sids.v1` hold, the active one first.
        preparing: The one that is to serve next; none where no rollout is under way.
    """

    active: str
    live: tuple[str, ...]
    preparing: str | None


class Orders:
    """The control topics so far."""

    def __init__(self) -> None:
        self._ordered: dict[str, tuple[int, Generation]] = {}
        self._reports: dict[str, GenerationReport] = {}

    def order(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Take a record of `generations.v1`.

        Args:
            key: The tokenizer version.
            value: JSON; none forgets the version.
            offset: Where it stands.

        Raises:
            BadRecord: It fits no contract; what was known stays.
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
        """Take a record of `generation-reports.v1`.

        Args:
            key: Of the worker or partition.
            value: JSON; none forgets it.

        Raises:
            BadRecord: It fits no contract; what was known stays.
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
        """All versions that were ever ordered, the latest order last."""
        return tuple(generation for _, generation in sorted(self._ordered.values(), key=lambda entry: entry[0]))

    @property
    def active(self) -> Generation | None:
        """The generation that serves; none where nobody ordered one: then each worker's own pair does."""
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
        """The way back: what served last before the active one."""
        active = self.active
        return next((g for g in reversed(self.generations) if g.phase in ("active", "standby") and g != active), None)

    def find(self, version: str) -> Generation | None:
        """Look up what was ordered of a version.

        Args:
            version: Tokenizer version.

        Returns:
            The last order; none where there was none.
        """
        entry = self._ordered.get(version)
        return None if entry is None else entry[1]

    def plan(self, home: str) -> Plan:
        """Say what a worker is to hold.

        Args:
            home: Version of its own pair, which serves where no other was ordered.

        Returns:
            The plan.
        """
        active = home if self.active is None else self.active.version
        others = [found.version for found in self.generations if found.phase != "retired" and found.version != active]
        preparing = self.preparing
        return Plan(active, (active, *others), None if preparing is None else preparing.version)

    def wanted(self, held: Collection[str]) -> dict[str, Progress | None]:
        """Say what the values of every catalogue partition of an agent should come to.

        Args:
            held: Versions that the agent tokenizes under.

        Returns:
            By version: held in all values, dropped from all, or none where the agent cannot do what is ordered. A
            retired version that nonetheless serves, since nothing else may, is held.
        """
        return {
            version: "held" if version in held else "dropped" if generation.phase == "retired" else None
            for version, (_, generation) in self._ordered.items()
        }

    def unsettled(self, partition: int, held: Collection[str]) -> bool:
        """Tell whether values of a catalogue partition must be written anew.

        Args:
            partition: Which.
            held: Versions that its agent tokenizes under.

        Returns:
            Whether one of these versions is not in all its values, or a retired one is still in some.
        """
        wanted = self.wanted(held).items()
        return any(state is not None and self.partition_state(v, partition) != state for v, state in wanted)

    def partition_state(self, version: str, partition: int) -> Progress | None:
        """Look up the last word about a version in a catalogue partition.

        Args:
            version: Tokenizer version.
            partition: Which.

        Returns:
            Held, dropped or none.
        """
        report = self._reports.get(partition_key(version, partition))
        return None if report is None else report.progress

    def workers(self) -> dict[str, GenerationReport]:
        """Return the last word of every worker, by its name."""
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
