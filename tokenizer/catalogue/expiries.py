"""When rows expire: kept for those alone that do, since most items never expire.

Shape legend: e = rows that expire, R = rows of the store.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NEVER_MS = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False, slots=True)
class Expiries:
    """Rows that expire.

    Attributes:
        rows: Ascending. Shape: (e,).
        expires_at: UTC epoch ms of each. Shape: (e,).
    """

    rows: npt.NDArray[np.int32]
    expires_at: npt.NDArray[np.int64]

    def due(self, now_ms: int) -> npt.NDArray[np.int32]:
        """Return the rows that have expired by a time, UTC epoch ms. Shape: (<= e,)."""
        return self.rows[self.expires_at <= now_ms]

    def next_at(self, some: npt.NDArray[np.bool_]) -> int:
        """Tell when the next of some rows expires.

        Args:
            some: Mask over rows.
                Shape: (R,).

        Returns:
            UTC epoch ms, the largest int64 for never.
        """
        return int(np.min(self.expires_at, where=some[self.rows], initial=NEVER_MS))

    def by_row(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return when each row expires, UTC epoch ms, the largest int64 for never. Shape: (num_rows,)."""
        every = np.full(num_rows, NEVER_MS, dtype=np.int64)
        every[self.rows] = self.expires_at
        return every
