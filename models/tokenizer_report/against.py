"""Owns the section that sets two versions beside each other on the same items."""

from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from models.tokenizer_report.svg import Line, over_time
from tokenizer.sheet import CodeSheet, describe_codes

_MAX_DRAWN = 60


@dataclass(frozen=True, slots=True, eq=False)
class Against:
    """Another version on the same items.

    Attributes:
        version: Of the other tokenizer.
        old: Its measures, by the common vectors.
        new: Those of the reported version, by the same vectors.
        kept_first: Of pairs of items that shared their first code, the share that still does.
        kept_sid: Of pairs that shared their SID, the share that still does; None where none did.
        old_sizes: Items on each SID of the other version, any order.
        new_sizes: Items on each SID of the reported one.
    """

    version: str
    old: CodeSheet
    new: CodeSheet
    kept_first: float | None
    kept_sid: float | None
    old_sizes: npt.NDArray[np.intp]
    new_sizes: npt.NDArray[np.intp]


def set_against(
    version: str, old: npt.NDArray[np.int32], new: npt.NDArray[np.int32], common: npt.NDArray[np.floating]
) -> Against:
    """Measure two versions with one yardstick.

    Args:
        version: Of the other tokenizer.
        old: Its SIDs.

            Shape: (N, L').
        new: SIDs of the reported tokenizer, same items.

            Shape: (N, L).
        common: Vectors that belong to neither, compared by cosine.

            Shape: (N, S).

    Returns:
        The comparison.
    """
    return Against(
        version=version,
        old=describe_codes(common, old),
        new=describe_codes(common, new),
        kept_first=_kept(old[:, :1], new[:, :1]),
        kept_sid=_kept(old, new),
        old_sizes=np.bincount(_groups(old)),
        new_sizes=np.bincount(_groups(new)),
    )


def against_section(found: Against, version: str) -> str:
    """Draw the comparison.

    Args:
        found: The measures.
        version: Of the reported tokenizer.

    Returns:
        HTML.
    """
    rows = "".join(_rows(found))
    kept = [
        f"{share:.0%} of pairs that {what} still do"
        for share, what in ((found.kept_first, "shared their first code"), (found.kept_sid, "shared their SID"))
        if share is not None
    ]
    plot = over_time(
        "Items on the most crowded SIDs",
        [_crowd("before", found.old_sizes, "muted"), _crowd("now", found.new_sizes, "s1")],
        None,
        [(0.0, "most crowded SID"), (1.0, f"the {_MAX_DRAWN}th")],
    )
    return (
        f'<h2 id="against">Is it better than {escape(found.version)}?</h2><p class="lead">{"; ".join(kept)}. Cosines '
        "are those of content alone, the same vectors for both. Inside SIDs they are fair only where both have about "
        "as many SIDs: fewer items on a SID are always more alike.</p>"
        f'<div class="plots"><div class="card scroll"><table><tr><th>measure</th><th class="n">{escape(found.version)}'
        f'</th><th class="n">{escape(version)}</th><th class="n">change</th></tr>{rows}</table></div>'
        f'<div class="card"><h3>Items on the {_MAX_DRAWN} most crowded SIDs</h3>{plot}</div></div>'
    )


def _rows(found: Against) -> list[str]:
    old, new = found.old, found.new
    rows = [
        _row("distinct SIDs", old.distinct_sids, new.distinct_sids, 1, ",.0f"),
        _row("share of items on a shared SID", old.shared_share, new.shared_share, -1, ".1%"),
        _row("items on the most crowded SID", old.largest_bucket, new.largest_bucket, -1, ",.0f"),
        _row("cosine of items on one SID", old.bucket_cosine, new.bucket_cosine, 1, ".3f"),
    ]
    for count, pair in enumerate(zip(old.prefix_cosine, new.prefix_cosine, strict=False), start=1):
        rows.append(_row(f"cosine of items sharing {count} code{'s' * (count > 1)}", *pair, 1, ".3f"))
    rows.append(
        _row("cosine of items sharing the last code alone", old.last_code_cosine, new.last_code_cosine, 0, ".3f")
    )
    for level, pair in enumerate(zip(old.codes_used, new.codes_used, strict=False)):
        rows.append(_row(f"codes used, level {level}", *pair, 0, ",.0f"))
    for level, shares in enumerate(zip(old.perplexity, new.perplexity, strict=False)):
        rows.append(_row(f"codes if all were used alike, level {level}", *shares, 0, ",.1f"))
    return rows


def _row(name: str, old: float | None, new: float | None, better: int, form: str) -> str:
    cells = ["–" if value is None else format(value, form) for value in (old, new)]
    change, style = "–", ""
    if old is not None and new is not None:
        gained = new - old
        change = f"{'+' if gained > 0 else ''}{format(gained, form)}"
        style = "" if not better or not gained else "good" if gained * better > 0 else "bad"
    return (
        f'<tr><td>{name}</td><td class="n">{cells[0]}</td><td class="n">{cells[1]}</td>'
        f'<td class="n {style}">{change}</td></tr>'
    )


def _crowd(name: str, sizes: npt.NDArray[np.intp], style: str) -> Line:
    return Line(name, np.sort(sizes)[::-1][:_MAX_DRAWN].astype(float).tolist(), style)


def _kept(old: npt.NDArray[np.int32], new: npt.NDArray[np.int32]) -> float | None:
    before, both = _groups(old), _groups(np.concatenate([old, new], axis=1))
    pairs = _pairs(before)
    return _pairs(both) / pairs if pairs else None


def _pairs(groups: npt.NDArray[np.intp]) -> int:
    sizes = np.bincount(groups)
    return int((sizes * (sizes - 1) // 2).sum())


def _groups(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    groups: npt.NDArray[np.intp] = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    return groups
