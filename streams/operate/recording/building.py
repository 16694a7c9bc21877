"""The log folder of a recording, written from its spool: items in the topic's order, everything else by time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sidestream.models.data import FolderFacts, LogFolderWriter, Manifest
from sidestream.models.data.manifest import Clock as ClockFacts
from sidestream.models.data.plays import FolderBuilder, Play, RowReport, SplitOptions
from sidestream.models.data.plays.holdout import split_statement
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.quantities import quantity
from sidestream.models.data.rows import ListenRow, decode_listen, decode_row
from sidestream.models.data.sorting import ExternalSort, number_key
from sidestream.models.records import CatalogItem, SessionStart
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.operate.recording.erased import ErasedUsers
from sidestream.streams.operate.recording.spool import FOLDER, Kind, Refused, Spool, Spooled, SpoolWriter
from sidestream.streams.runtime.clock import Clock, WallClock

SEGMENT_RECORDS = 20_000


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is recorded.

    Attributes:
        from_at: Events from then on, UTC epoch ms; None as in the run before, at first all. Items come from the
            beginning in any case.
        from_text: `from_at` as it was given: the same text continues a recording, whatever time it means by now.
        overwrite: Whether to record anew over an earlier recording or a log folder.
        until: Events before it, UTC epoch ms.
        split: How plays are held out.
        memory_bytes: For sorting.
        limits: What a record must keep, as for workers.
        segment_records: Records between two positions that are kept.
        clock: Wall clock, UTC epoch ms, which Kafka's retention goes by.
    """

    from_at: int | None
    until: int
    from_text: str | None = None
    overwrite: bool = False
    split: SplitOptions = field(default_factory=lambda: SplitOptions("none"))
    memory_bytes: int = 256 << 20
    limits: Limits = field(default_factory=Limits)
    segment_records: int = SEGMENT_RECORDS
    clock: Clock = field(default_factory=WallClock)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run did.

    Attributes:
        manifest: Of the folder.
        read: Records read in this run, by kind.
        refused: Records that are no values of their topic, of all runs, by topic.
        erased: Records left out of the folder because their user is erased.
        lost: Offsets that retention took between two runs.
    """

    manifest: Manifest
    read: Mapping[str, int]
    refused: Mapping[str, Refused]
    erased: int
    lost: int


class Building:
    """Writes the log folder, and with it the spool without what erased users had.

    Args:
        target: The log folder.
        spool: All that was recorded.
        options: What goes into the folder.
        erased: Who is erased.
        begins: First offset that each topic still has, by kind and partition.
    """

    def __init__(
        self,
        target: Path,
        spool: Spool,
        options: RecordOptions,
        erased: ErasedUsers,
        begins: Mapping[tuple[Kind, int], int],
    ) -> None:
        self._target, self._spool, self._options = target, spool, options
        self._erased, self._begins = erased, begins
        self._num_erased = 0
        self._report = RowReport()
        self._item_at: dict[str, int] = {}
        self._published: set[str] = set()
        self._present: set[str] = set()

    def run(self, read: Mapping[str, int], on_progress: Progress = ignore_progress) -> Recorded:
        """Write the folder.

        Args:
            read: Records read in this run, by kind.
            on_progress: Called with how far it is.

        Returns:
            What was done.
        """
        options = self._options
        with LogFolderWriter(self._target, overwrite=True, extra=FOLDER) as writer:
            catalogue = ExternalSort(writer.scratch, options.memory_bytes // 3)
            builder = FolderBuilder(
                writer, options.split, self._report, 2 * options.memory_bytes // 3, derive_sessions=False
            )
            kept = SpoolWriter(writer.extra_folder, options.segment_records)
            for record in counted(self._spool.records(), "sort", 0, on_progress):
                if record.kind != "catalog" and self._erased.holds(record, self._begins):
                    self._num_erased += 1
                    continue
                kept.add(record)
                self._add(record, catalogue, builder)
            kept.close(self._spool.state)
            for _, value in counted(catalogue, "write items", 0, on_progress):
                self._write_item(writer, msgspec.msgpack.decode(value, type=Spooled))
            builder.build(lambda item_id: item_id if item_id in self._published else None, on_progress)
            manifest = writer.finish(self._facts(builder))
        state = self._spool.state
        return Recorded(manifest, dict(read), state.refused, self._num_erased, state.lost)

    def _add(self, record: Spooled, catalogue: ExternalSort, builder: FolderBuilder) -> None:
        if record.kind == "catalog":
            # The topic's order counts, not its writers' clocks: a later version is never put before an earlier one.
            at = max(record.at, self._item_at.get(record.key, 0))
            self._item_at[record.key] = at
            if at < self._options.until:
                record = msgspec.structs.replace(record, at=at)
                key = number_key(at) + number_key(record.partition) + number_key(record.offset)
                catalogue.add(key, msgspec.msgpack.encode(record))
        elif record.at >= self._options.until:
            return
        elif record.kind == "sessions":
            builder.add_start(SessionStart.from_json(record.value or b""))
        else:
            builder.add(_play(decode_row(decode_listen, record.value or b"")[0]))

    def _write_item(self, writer: LogFolderWriter, record: Spooled) -> None:
        if record.value is not None:
            item = CatalogItem.from_json(record.value)
            writer.item(item if item.at == record.at else item.model_copy(update={"at": record.at}))
            self._published.add(record.key)
            self._present.add(record.key)
        elif record.key in self._present:
            self._present.discard(record.key)
            writer.removal(record.key, record.at)
        else:
            self._report.leave_out("removals of items that the topic no longer holds")

    def _facts(self, builder: FolderBuilder) -> FolderFacts:
        options, state = self._options, self._spool.state
        notes = list(self._report.notes)
        for topic, refused in state.refused.items():
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(refused.reasons.items()))
            notes.append(f"{topic}: records that are no values of it ({reasons}): {'; '.join(refused.named)}")
        if self._num_erased:
            notes.append(f"{quantity(self._num_erased, 'record')} of erased users left out in this run")
        if state.lost:
            notes.append(f"{state.lost:,} offsets were gone by retention before they were recorded")
        return FolderFacts(
            name="recorded",
            source=f"recorded from the topics {', '.join(state.topics.values())}",
            licence="Your own data: no terms are known.",
            events_are="listens, as published",
            clock=ClockFacts(kind="real", statement="`at` is what each record says."),
            split=split_statement(options.split),
            cuts=builder.cuts,
            notes=tuple(notes),
            settings={
                "from": state.from_at,
                "until": options.until,
                "split": options.split.rule,
                "session_gap_ms": options.split.gap_ms,
            },
        )


def _play(row: ListenRow) -> Play:
    return Play(
        user_id=row.user_id,
        item=row.item_id,
        at=row.at,
        started_at=max(0, row.at - (row.listened_ms or 0)),
        ended_at=row.at,
        listened_ms=row.listened_ms,
        duration_ms=row.duration_ms,
        signal=row.signal,
        surface=row.surface,
        device=row.device,
        session_id=row.session_id,
        event_id=row.event_id,
    )
