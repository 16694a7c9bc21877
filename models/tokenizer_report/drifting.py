"""Report section on drift: the figures of the alarms over the arrivals of the log."""

from datetime import UTC, datetime
from html import escape

from sidestream.models.tokenizer_report.course import MIN_ITEMS, DriftCourse
from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.models.tokenizer_report.svg import Line, over_time
from sidestream.tokenizer.drift import DriftSettings

_LONG_MS = 200 * 86_400_000
_UNDER = "arrivals in their order"
_STYLES = ("s0", "s1", "s2", "s3", "s4")


def drift_section(items: ReportItems, course: DriftCourse | None, limits: DriftSettings) -> str:
    """Render drift over time.

    Args:
        items: The catalogue.
        course: Drift figures; None if too few items arrived.
        limits: Limits of the alarms.

    Returns:
        HTML.
    """
    head = '<h2 id="drift">Has the catalogue drifted?</h2>'
    if course is None:
        return f'{head}<p class="lead">Too few items arrived: {len(items.codes):,} of {MIN_ITEMS:,}.</p>'
    raised = [f"{kind} in {count} of {len(course.at)} windows" for kind, count in course.raised.items()]
    verdict = (
        f'<span class="alarm">Alarms: {", ".join(raised)}.</span>' if raised else "No alarm would have been raised."
    )
    compared = (
        "the items that the tokenizer was fitted on"
        if items.own_reference
        else "all items of this log, since the tokenizer’s artifact has no reference: only changes inside the log show"
    )
    plots = "".join(
        f'<div class="card"><h3>{title}</h3>{plot}<p class="note">{note}</p></div>'
        for title, plot, note in _plots(course, limits)
    )
    return (
        f'{head}<p class="lead">{verdict} Windows of {course.window:,} arrivals, each item as it was before its first '
        f"listen, compared with {compared}. Arrival is {escape(items.arrival_is)}.</p>"
        f'<div class="plots">{plots}</div>'
    )


def _plots(course: DriftCourse, limits: DriftSettings) -> list[tuple[str, str, str]]:
    ticks = _dates(course)
    levels = range(len(course.figures[0].psi))
    residuals = [Line("items", [found.residual_share for found in course.figures], "s1")]
    codes = [
        Line(f"level {level}", [found.psi[level] for found in course.figures], _STYLES[level % len(_STYLES)])
        for level in levels
    ]
    collisions = [
        Line("measured", [found.collision_share for found in course.figures], "s1"),
        Line("expected", [found.collision_expected for found in course.figures], "muted"),
    ]
    limit = course.figures[0].collision_expected + limits.collision_limit
    return [
        (
            "Items that fit worse than 95 % of training",
            over_time("Share of arrivals beyond the 95th percentile", residuals, limits.residual_limit, ticks, _UNDER),
            "0.05 if nothing changed. Rising: the content of new items is new to the tokenizer.",
        ),
        (
            "Codes of arrivals compared with training",
            over_time("Population stability index of each level", codes, limits.psi_limit, ticks, _UNDER),
            "Stability index minus chance. Rising at level 0: other kinds of items; at later levels: other details.",
        ),
        (
            "Arrivals that share a SID",
            over_time("Share of arrivals on a shared SID", collisions, limit, ticks, _UNDER),
            "Rising above the expected share: new items concentrate on few SIDs.",
        ),
    ]


def _dates(course: DriftCourse) -> list[tuple[float, str]]:
    last = len(course.at) - 1
    form = "%b %Y" if course.at[-1] - course.at[0] > _LONG_MS else "%d %b"
    return [
        (place / max(last, 1), datetime.fromtimestamp(course.at[place] / 1e3, UTC).strftime(form))
        for place in sorted({0, last // 2, last})
    ]
