"""HTML page of the report: head, order of sections, and content security policy."""

from html import escape

from sidestream.models.tokenizer_report.against import Against, against_section
from sidestream.models.tokenizer_report.browse import prefix_section, story_section
from sidestream.models.tokenizer_report.course import drift_course
from sidestream.models.tokenizer_report.drifting import drift_section
from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.models.tokenizer_report.prefixes import prefix_tree
from sidestream.models.tokenizer_report.story import stories
from sidestream.models.tokenizer_report.style import STYLE
from sidestream.models.tokenizer_report.usage import buckets, explained, level_usage, tiles
from sidestream.tokenizer.drift import DriftSettings
from sidestream.tokenizer.quality.code_stats import measure_codes

# Nothing may be fetched and no script may run, even if a title contains markup.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_CONTENTS = (
    ("usage", "Codes in use"),
    ("buckets", "Shared SIDs"),
    ("levels", "What levels explain"),
    ("drift", "Drift"),
    ("stories", "Single items"),
    ("prefixes", "Prefixes"),
)


def render(
    items: ReportItems, limits: DriftSettings, against: Against | None = None, asked: list[str] | None = None
) -> str:
    """Render the page.

    Args:
        items: The catalogue under the tokenizer.
        limits: Window and limits of the drift alarms.
        against: Comparison with another version.
        asked: Ids of the items to show; by default the latest, a typical one and the worst.

    Returns:
        A complete HTML page.
    """
    stats = measure_codes(items.vectors, items.codes, items.levels.decode(items.codes))
    sections = [
        level_usage(items, stats),
        buckets(items),
        explained(items),
        drift_section(items, drift_course(items, limits), limits),
        story_section(items, stories(items, asked or [])),
        prefix_section(items, prefix_tree(items)),
    ]
    contents = [*_CONTENTS]
    if against is not None:
        sections.insert(0, against_section(against))
        contents.insert(0, ("against", f"Against {against.comparison.old.version}"))
    links = "".join(f'<a href="#{name}">{escape(words)}</a>' for name, words in contents)
    sizes = " × ".join(f"{size:,}" for size in items.levels.sizes)
    kinds = ", ".join(dict.fromkeys(items.levels.kinds))
    title = f"Tokenizer {escape(items.version)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{STYLE}</style></head><body><main>'
        f"<header><h1>{title}</h1><p>On {len(items.codes):,} items of {escape(items.data)} · {sizes} codes ({kinds}) · "
        f"encoder {escape(items.encoder)}</p></header><nav>{links}</nav>{tiles(items, stats)}{''.join(sections)}"
        "<footer>Levels count from 0, as in the metrics. Made by <code>sidestream tokenizer report</code>.</footer>"
        "</main></body></html>\n"
    )
