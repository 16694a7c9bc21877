"""Report sections on one version: summary figures, code usage, buckets, and the variance explained by each level."""

from html import escape
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.models.tokenizer_report.svg import Box, boxes, columns, falling_curve
from sidestream.tokenizer.quality.code_stats import CodeStats
from sidestream.tokenizer.sid import format_sid

_SIZES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 10**9))
_CROWDED = 8
_CROWDED_TITLES = 3
_CROWDED_TITLE_CHARS = 44
_PERCENTS = (5, 25, 50, 75, 95)


def tiles(items: ReportItems, stats: CodeStats) -> str:
    """Render the summary figures.

    Args:
        items: The catalogue.
        stats: Code statistics.

    Returns:
        HTML.
    """
    heard = items.num_heard / stats.num_items
    found = [
        (f"{stats.num_items:,}", f"items, {heard:.0%} of them heard in training"),
        (f"{stats.distinct_sids:,}", "distinct SIDs in use"),
        (f"{stats.shared_share:.1%}", "of items share their SID with another"),
        (f"{stats.largest_bucket:,}", "items on the SID with the most"),
        ("–" if stats.bucket_cosine is None else f"{stats.bucket_cosine:.2f}", "mean cosine of items on one SID"),
        ("–" if stats.left_over is None else f"{stats.left_over:.0%}", "of the squared length is residual"),
    ]
    return '<div class="tiles">' + "".join(_tile(value, words) for value, words in found) + "</div>"


def level_usage(items: ReportItems, stats: CodeStats) -> str:
    """Render the distribution of items over the codes of each level.

    Args:
        items: The catalogue.
        stats: Code statistics.

    Returns:
        HTML.
    """
    plots = []
    for level, (size, column) in enumerate(zip(items.levels.sizes, items.codes.T, strict=True)):
        counts = np.bincount(column, minlength=size)
        used, alike = stats.codes_used[level], stats.perplexity[level]
        plot = falling_curve(
            f"Items per code of level {level}",
            counts,
            f"codes of level {level}, most items first",
            f"even: {len(items.codes) / size:,.1f}",
        )
        plots.append(
            f'<div class="card"><h3>Level {level} · {items.levels.kinds[level]}</h3>{plot}'
            f'<p class="note">{used:,} of {size:,} codes in use, equivalent to {alike:,.0f} equally used; the fullest '
            f"has {int(counts.max()):,} items.</p></div>"
        )
    worst = int(np.argmin([used / size for used, size in zip(stats.codes_used, items.levels.sizes, strict=True)]))
    unused = items.levels.sizes[worst] - stats.codes_used[worst]
    lead = (
        "Every code of every level has items."
        if not unused
        else f"Level {worst} leaves {unused:,} of its {items.levels.sizes[worst]:,} codes unused."
    )
    return (
        f'<h2 id="usage">Are the codes in use?</h2><p class="lead">{lead} A steep curve means that few codes carry the '
        f'catalogue; evenness alone is not a sign of quality.</p><div class="plots">{"".join(plots)}</div>'
    )


def buckets(items: ReportItems) -> str:
    """Render how many items share a SID, and the items on the fullest SIDs.

    Args:
        items: The catalogue.

    Returns:
        HTML.
    """
    sids, places, sizes = np.unique(items.codes, axis=0, return_inverse=True, return_counts=True)
    places = places.reshape(-1)
    shares, names, tips = [], [], []
    for low, high in _SIZES:
        inside = (sizes >= low) & (sizes <= high)
        shares.append(100.0 * float(sizes[inside].sum()) / len(items.codes))
        names.append(str(low) if low == high else f"{low}–{high}" if high < 10**9 else f"{low}+")
        tips.append(f"{int(inside.sum()):,} SIDs have {int(sizes[inside].sum()):,} items")
    plot = columns("Share of items by number of items on their SID", names, shares, tips)
    rows = [
        _crowded(items, sids[bucket], np.flatnonzero(places == bucket))
        for bucket in np.argsort(-sizes, kind="stable")[:_CROWDED]
        if sizes[bucket] > 1
    ]
    table = (
        f'<div class="scroll"><table><tr><th>SID</th><th class="n">items</th><th>some of them</th></tr>'
        f"{''.join(rows)}</table></div>"
        if rows
        else '<p class="note">No two items share a SID.</p>'
    )
    return (
        '<h2 id="buckets">How many items share a SID?</h2><p class="lead">Items on one SID are distinguished only '
        "after the beam, by their vectors and popularity. That is fine for similar items; titles that have nothing in "
        'common mean that there are too few SIDs.</p><div class="plots"><div class="card">'
        f'<h3>Share of items by items on their SID</h3>{plot}</div><div class="card"><h3>The fullest SIDs</h3>{table}'
        "</div></div>"
    )


def explained(items: ReportItems) -> str:
    """Render the residual after each level.

    Args:
        items: The catalogue.

    Returns:
        HTML.
    """
    names = ["the item", *(f"level {level}" for level in range(items.codes.shape[1]))]
    found = [
        Box(name, np.percentile(column, _PERCENTS).tolist()) for name, column in zip(names, items.norms.T, strict=True)
    ]
    plot = boxes("Norm of the residual after each level", found, "boxes: half of the items; lines: 5 to 95 %")
    squares = (items.norms**2).mean(axis=0)
    rows = [
        _explained_row(f"level {level}", (before - after) / squares[0], _alone(items.codes[:, : level + 1]))
        for level, (before, after) in enumerate(pairwise(squares))
    ]
    rows.append(_explained_row("residual", squares[-1] / squares[0], None))
    return (
        '<h2 id="levels">What does each level explain?</h2><p class="lead">The norm of an item’s vector, then of '
        "the residual after each code. A level whose box hardly falls adds SIDs but no meaning; if most items already "
        "are alone, later codes have little to distinguish.</p>"
        f'<div class="plots"><div class="card"><h3>Residual after each level</h3>{plot}</div><div class="card">'
        '<h3>Contribution of each level</h3><table><tr><th>level</th><th class="n">of the squared length</th>'
        f'<th class="n">items alone after it</th></tr>{"".join(rows)}</table></div></div>'
    )


def _explained_row(name: str, part: float, alone: float | None) -> str:
    alone_share = "" if alone is None else f"{alone:.1%}"
    return f'<tr><td>{name}</td><td class="n">{part:.1%}</td><td class="n">{alone_share}</td></tr>'


def _alone(codes: npt.NDArray[np.int32]) -> float:
    sizes = np.unique(codes, axis=0, return_counts=True)[1]
    return float((sizes == 1).sum() / len(codes))


def _crowded(items: ReportItems, sid: npt.NDArray[np.int32], rows: npt.NDArray[np.intp]) -> str:
    # Parts of a series and weekly streams may have the same title: each is listed once.
    titles = list(dict.fromkeys(_cut(items.titles[row]) for row in rows.tolist()))
    more = " …" if len(titles) > _CROWDED_TITLES else ""
    return (
        f'<tr><td><span class="chip">{format_sid(sid)}</span></td><td class="n">{len(rows):,}</td>'
        f"<td>{'; '.join(map(escape, titles[:_CROWDED_TITLES]))}{more}</td></tr>"
    )


def _cut(title: str) -> str:
    return title if len(title) <= _CROWDED_TITLE_CHARS else f"{title[: _CROWDED_TITLE_CHARS - 1].rstrip()}…"


def _tile(value: str, words: str) -> str:
    return f'<div class="tile"><b>{value}</b><span>{words}</span></div>'
