"""Report of an import: damaged rows, up to a limit, and rows that are omitted deliberately."""

from collections import Counter

from sidestream.models.data.quantities import quantity
from sidestream.models.errors import DataError

# Rows that are listed individually; the rest is only counted.
MAX_NAMED = 20
MAX_SHOWN_ALIKE = 3
# This many damaged rows from the first one on indicate a wrong mapping, not damage.
HOPELESS = 1_000


class RowReport:
    """Counts of the rows of an import.

    Args:
        max_damaged: Share of all rows that may be damaged.

    Attributes:
        rows: Rows read.
        damaged: Number of invalid rows.
        named: The first invalid rows, as `file:line: what`.
        left_out: Valid but omitted rows, by reason.
        alike: Listeners whose ids differ from another's only by Unicode normalization.
    """

    def __init__(self, max_damaged: float = 0.01) -> None:
        self._max_damaged = max_damaged
        self.rows = 0
        self.damaged = 0
        self.named: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.alike: list[str] = []
        self._rows_before = self._damaged_before = 0

    def begin_file(self) -> None:
        """Note that another file begins, which may be hopeless where the one before was not."""
        self._rows_before, self._damaged_before = self.rows, self.damaged

    def damage(self, name: str, line: int, what: str) -> None:
        """Record a damaged row.

        Args:
            name: Name of the file.
            line: Line number.
            what: What was expected, and what was found.

        Raises:
            DataError: None of many rows of the file so far was valid.
        """
        self.damaged += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"{name}:{line}: {what}")
        if self.damaged - self._damaged_before == self.rows - self._rows_before == HOPELESS:
            msg = f"none of the first {HOPELESS:,} rows can be read: {self._listed(3)}"
            raise DataError(msg)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count valid rows that are omitted, with a reason that can follow a number of rows."""
        if count:
            self.left_out[reason] += count

    def check(self) -> None:
        """Raise `DataError`, which names the first damaged rows, if their share is above the limit."""
        share = self.damaged / max(1, self.rows)
        if share > self._max_damaged:
            msg = (
                f"{self.damaged:,} of {self.rows:,} rows are damaged, {share:.2%}, more than {self._max_damaged:.2%} "
                f"(--max-damaged), so nothing was written: {self._listed(5)}"
            )
            raise DataError(msg)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the manifest: damaged rows, and numbers of omitted rows by reason."""
        notes = [f"{quantity(count, 'row')} left out: {reason}" for reason, count in self.left_out.most_common()]
        if self.damaged:
            notes.insert(
                0, f"{self.damaged:,} of {self.rows:,} rows are damaged and left out: {self._listed(MAX_NAMED)}"
            )
        if self.alike:
            some = ", ".join(map(repr, self.alike[:MAX_SHOWN_ALIKE]))
            notes.append(
                f"{quantity(len(self.alike), 'listener')} kept apart from another whose id differs only by Unicode "
                f"normalization (composed or decomposed letters): {some}"
            )
        return tuple(notes)

    def _listed(self, count: int) -> str:
        more = self.damaged - min(count, len(self.named))
        return "; ".join(self.named[:count]) + (f"; and {more:,} more" if more else "")
