"""Report section that compares two versions on the same items, with the measures of `tokenizer compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from sidestream.models.tokenizer_report.svg import Line, columns, over_time
from sidestream.tokenizer.generations import Churn, Comparison, VersionOnItems, VersionStats, compare

_MAX_DRAWN = 60


@dataclass(frozen=True, slots=True, eq=False)
class Against:
    """Comparison with another version on the same items.

    Attributes:
        comparison: The other version as the old one, the reported one as the new.
        old_sizes: Items on each SID of the other version, in any order. Shape: (its SIDs,).
        new_sizes: Items on each SID of the reported version. Shape: (its SIDs,).
    """

    comparison: Comparison
    old_sizes: npt.NDArray[np.intp]
    new_sizes: npt.NDArray[np.intp]


def set_against(
    old: VersionOnItems, new: VersionOnItems, common: npt.NDArray[np.floating], rng: np.random.Generator
) -> Against:
    """Compare two versions with `sidestream.tokenizer.generations.compare`.

    Args:
        old: The other version.
        new: The reported version, on the same items.
        common: Vectors that belong to neither version, compared by cosine.

            Shape: (N, S).
        rng: Draws the prefixes, and the items whose neighbours are measured.

    Returns:
        The comparison.

    Raises:
        TokenizerError: No items, or different numbers of items.
    """
    sizes = (np.unique(version.codes, axis=0, return_counts=True)[1] for version in (old, new))
    return Against(compare(old, new, common, rng)[0], *sizes)


def against_section(found: Against) -> str:
    """Render the comparison.

    Args:
        found: The measures.

    Returns:
        HTML.
    """
    compared = found.comparison
    old, new, churn = escape(compared.old.version), escape(compared.new.version), compared.churn
    others = f" Of an item’s {churn.neighbours} nearest, {churn.neighbours_changed:.0%} have changed." * bool(
        churn.neighbours
    )
    cards = "".join(
        f'<div class="card"><h3>{title}</h3>{plot}<p class="note">{note}</p></div>'
        for title, plot, note in (_matched(compared), _crowded(found), _kept(churn), _agreed(compared))
    )
    return (
        f'<h2 id="against">Is it better than {old}?</h2><p class="lead">{churn.bucket_mates_changed:.0%} of items '
        f"share their SID with different items than before.{others} Cosines are those of content alone, the same "
        "vectors for both. Inside SIDs they are comparable only if both have as many SIDs: fewer items on a SID are "
        "always more similar.</p>"
        '<div class="plots"><div class="card wide scroll"><table class="compared"><tr><th>measure</th>'
        f'<th class="n">{old}</th><th class="n">{new}</th><th class="n">change</th></tr>'
        f"{''.join(_rows(compared))}</table></div>{cards}</div>"
    )


def _rows(compared: Comparison) -> list[str]:
    old, new = compared.old.codes, compared.new.codes
    matched = compared.old.matched_cosine, compared.new.matched_cosine
    rows = [
        _row("distinct SIDs", old.distinct_sids, new.distinct_sids, 1, ",.0f"),
        _row("share of items on a shared SID", old.shared_share, new.shared_share, -1, ".1%"),
        _row("items on the fullest SID", old.largest_bucket, new.largest_bucket, -1, ",.0f"),
        _row("cosine of items on one SID", old.bucket_cosine, new.bucket_cosine, 0, ".3f"),
        _row(f"the same at {compared.matched_sids:,} SIDs each", *matched, 1, ".3f"),
    ]
    for count, pair in enumerate(zip(old.prefix_cosine, new.prefix_cosine, strict=False), start=1):
        rows.append(_row(f"cosine of items sharing {_codes(count)}", *pair, 1, ".3f"))
    rows.append(
        _row("cosine of items sharing the last code alone", old.last_code_cosine, new.last_code_cosine, 0, ".3f")
    )
    for level, pair in enumerate(zip(old.codes_used, new.codes_used, strict=False)):
        rows.append(_row(f"codes used, level {level}", *pair, 0, ",.0f"))
    for level, shares in enumerate(zip(old.perplexity, new.perplexity, strict=False)):
        rows.append(_row(f"equivalent number of equally used codes, level {level}", *shares, 0, ",.1f"))
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


def _matched(compared: Comparison) -> tuple[str, str, str]:
    title = f"Cosine of items on one SID, at {compared.matched_sids:,} SIDs each"
    found = [(name, *_bar(side)) for name, side in (("before", compared.old), ("now", compared.new))]
    names, values, tips = zip(*found, strict=True)
    note = "In hundredths. The finer version was coarsened to the number of SIDs of the coarser one."
    return title, columns(title, names, values, tips, unit=""), note


def _bar(side: VersionStats) -> tuple[float, str]:
    if side.matched_cosine is None:
        return 0.0, f"{side.version}: no two items share a SID"
    return max(100.0 * side.matched_cosine, 0.0), f"{side.version}: {side.matched_cosine:.3f}"


def _crowded(found: Against) -> tuple[str, str, str]:
    title = f"Items on the {_MAX_DRAWN} fullest SIDs"
    lines = [_crowd("before", found.old_sizes, "muted"), _crowd("now", found.new_sizes, "s1")]
    ticks = [(0.0, "fullest SID"), (1.0, f"the {_MAX_DRAWN}th")]
    return title, over_time(title, lines, None, ticks), "The fewer, the less is decided by vectors and popularity."


def _kept(churn: Churn) -> tuple[str, str, str]:
    title = "Items that still share a prefix"
    note = "Of the items that share these first codes with an item before or now, the share that does both times."
    return title, _by_codes(title, [Line("kept", churn.prefix_mates_kept, "s1")]), note


def _agreed(compared: Comparison) -> tuple[str, str, str]:
    title = "Accuracy of the map from old SIDs to new ones"
    agreed = compared.agreement
    lines = [
        Line("in the map", agreed["seen"], "s0"),
        Line("not in it", agreed["unseen"], "s1"),
        Line("chance", agreed["chance"], "muted"),
    ]
    note = (
        "Share of items whose translated SID begins with as many codes of their new one: items that the map was made "
        f"with, and items it was made without, as those removed before; it knows no first code of "
        f"{agreed['unseen_unknown']:.1%} of these."
    )
    return title, _by_codes(title, lines), note


def _by_codes(title: str, lines: Sequence[Line]) -> str:
    last = len(lines[0].values)
    ticks = [(0.0, _codes(1)), (1.0, _codes(last))] if last > 1 else [(0.0, _codes(1))]
    return over_time(title, lines, None, ticks)


def _codes(count: int) -> str:
    return f"{count} code{'s' * (count > 1)}"


def _crowd(name: str, sizes: npt.NDArray[np.intp], style: str) -> Line:
    return Line(name, np.sort(sizes)[::-1][:_MAX_DRAWN].astype(float).tolist(), style)
