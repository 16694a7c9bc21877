"""Counting of what an import cannot take: damaged rows, named and bounded, and rows that are left out on purpose."""

from collections import Counter

from sidestream.models.errors import DataError

# Named one by one; the rest is counted.
MAX_NAMED = 20
# So many bad rows from the first one on are a wrong mapping, not damage.
HOPELESS = 1_000


class RowReport:
    """What became of the rows of an import.

    Args:
        max_damaged: Share of all rows that may be damaged.

    Attributes:
        rows: Rows read.
        damaged: Rows that are not what they should be.
        named: The first of them, as `file:line: what`.
        left_out: Rows that are sound but not taken, by reason.
    """

    def __init__(self, max_damaged: float = 0.01) -> None:
        self._max_damaged = max_damaged
        self.rows = 0
        self.damaged = 0
        self.named: list[str] = []
        self.left_out: Counter[str] = Counter()

    def damage(self, name: str, line: int, what: str) -> None:
        """Note a damaged row.

        Args:
            name: Of the file.
            line: Number of the line.
            what: What was expected, and what came.

        Raises:
            DataError: No row was sound so far, of many.
        """
        self.damaged += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"{name}:{line}: {what}")
        if self.damaged == self.rows == HOPELESS:
            msg = f"none of the first {HOPELESS:,} rows can be read: {self._listed(3)}"
            raise DataError(msg)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count rows that are sound but not taken.

        Args:
            reason: Why, in words that fit behind a number of rows.
            count: How many.
        """
        if count:
            self.left_out[reason] += count

    def check(self) -> None:
        """Refuse an import of too many damaged rows.

        Raises:
            DataError: Their share is above the limit; names the first ones.
        """
        share = self.damaged / max(1, self.rows)
        if share > self._max_damaged:
            msg = (
                f"{self.damaged:,} of {self.rows:,} rows are damaged, {share:.2%}, more than {self._max_damaged:.2%} "
                f"(--max-damaged), so nothing was written: {self._listed(5)}"
            )
            raise DataError(msg)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a manifest says of it: damaged rows by name, and what was left out."""
        notes = [f"{count:,} rows left out: {reason}" for reason, count in self.left_out.most_common()]
        if self.damaged:
            notes.insert(
                0, f"{self.damaged:,} of {self.rows:,} rows are damaged and left out: {self._listed(MAX_NAMED)}"
            )
        return tuple(notes)

    def _listed(self, count: int) -> str:
        more = self.damaged - min(count, len(self.named))
        return "; ".join(self.named[:count]) + (f"; and {more:,} more" if more else "")
