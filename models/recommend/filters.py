"""Which items may be candidates of one session: facts, expiry, discovery mode, exclusions; and who is familiar.

The rules become one mask per request, and the beam itself is constrained by it: nothing is filtered away afterwards,
so a narrow rule still yields as many candidates as the catalogue holds. An item is familiar when it, its show or its
creator is in the listener's recent history.

Shape legend: R = rows of the item store, T = history entries.
"""

import numpy as np
import numpy.typing as npt

from sidestream.models.history.view import HistoryView
from sidestream.models.records import SessionStart
from sidestream.tokenizer.catalogue import CatalogueSnapshot, Eligibility
from sidestream.tokenizer.sid import item_key

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]


def familiar(snapshot: CatalogueSnapshot, history: HistoryView) -> BoolArray:
    """Tell which items of the whole store are familiar to a listener.

    Args:
        snapshot: Pinned catalogue.
        history: The listener's recent history under this snapshot.

    Returns:
        True where the item, its show or its creator is in the history.
            Shape: (R,).
    """
    known = np.unique(history.rows[history.rows >= 0])
    result: BoolArray = np.isin(snapshot.creator_key, _named(snapshot.creator_key[known]))
    result |= np.isin(snapshot.show_key, _named(snapshot.show_key[known]))
    result[known] = True
    return result


def are_familiar(snapshot: CatalogueSnapshot, history: HistoryView, rows: Int32Array) -> list[bool]:
    """Tell which of a few items are familiar; for so few, sets take a tenth of the time of arrays.

    Args:
        snapshot: Pinned catalogue.
        history: The listener's recent history under this snapshot.
        rows: Rows to judge.
            Shape: (n,).

    Returns:
        What `familiar` says of each row.
    """
    known = history.rows[history.rows >= 0]
    heard = set(known.tolist())
    creators = set(snapshot.creator_key[known].tolist()) - {0}
    shows = set(snapshot.show_key[known].tolist()) - {0}
    columns = (rows, snapshot.creator_key[rows], snapshot.show_key[rows])
    of_rows = zip(*(column.tolist() for column in columns), strict=True)
    return [row in heard or creator in creators or show in shows for row, creator, show in of_rows]


def eligibility_of(start: SessionStart, snapshot: CatalogueSnapshot, history: HistoryView, now_ms: int) -> Eligibility:
    """Compile the rules of one session into masks over items and trie nodes.

    Args:
        start: The session-start.
        snapshot: Pinned catalogue.
        history: The listener's recent history under this snapshot.
        now_ms: UTC epoch milliseconds; items expired by then are out.

    Returns:
        Masks for the beam.
    """
    mask: BoolArray | None = None
    if start.discovery != "any":
        mask = familiar(snapshot, history)
        if start.discovery == "unfamiliar":
            mask = ~mask
    return snapshot.eligibility(
        market=start.market,
        allow_explicit=start.allow_explicit is not False,
        languages=None if start.languages is None else frozenset(start.languages),
        kinds=None if start.kinds is None else frozenset(start.kinds),
        live_now=start.live_now,
        now_ms=now_ms,
        item_mask=mask,
    )


def excluded_rows(
    start: SessionStart, snapshot: CatalogueSnapshot, history: HistoryView, *, exclude_seen: bool
) -> Int32Array:
    """Find the rows that must not come back.

    Args:
        start: The session-start; its `exclude` always holds.
        snapshot: Pinned catalogue.
        history: The listener's recent history under this snapshot.
        exclude_seen: Leave out the history's own items too. Ignored where the session asks for familiar items:
            hearing them again is then what is wanted.

    Returns:
        Rows in ascending order, without repeats.
            Shape: (n,).
    """
    parts: list[Int32Array] = []
    if start.exclude:
        keys = np.fromiter((item_key(item_id) for item_id in start.exclude), dtype=np.uint64, count=len(start.exclude))
        parts.append(snapshot.row_of_key(keys))
    if exclude_seen and start.discovery != "familiar":
        parts.append(history.rows)
    if not parts:
        return np.empty(0, dtype=np.int32)
    rows = np.unique(np.concatenate(parts)).astype(np.int32)
    return rows[rows >= 0]


def _named(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the keys that name someone: 0 stands for "no creator" and "no show"."""
    return np.unique(keys[keys != 0])
