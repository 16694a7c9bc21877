"""Report sections that show items by name: the tree of prefixes, and the encoding of single items."""

from datetime import UTC, datetime
from html import escape

from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.models.tokenizer_report.prefixes import Prefix
from sidestream.models.tokenizer_report.story import LevelStep, Story
from sidestream.tokenizer.sid import format_sid

_BAR_PX = 48


def prefix_section(items: ReportItems, root: Prefix) -> str:
    """Render the tree, collapsed.

    Args:
        items: The catalogue.
        root: Root of the tree of prefixes.

    Returns:
        HTML.
    """
    largest = max((branch.num_items for branch in root.branches), default=1)
    nodes = "".join(_node(items, branch, largest) for branch in root.branches)
    if not root.branches:
        nodes = _leaves(items, root) or '<p class="note">One level: there are no prefixes.</p>'
    return (
        '<h2 id="prefixes">What is under a prefix?</h2><p class="lead">Items with one prefix should be similar: each '
        "line names the items nearest to the decoded prefix. Open one to go down a level.</p>"
        f'<div class="card">{nodes}{_rest(root)}</div>'
    )


def story_section(items: ReportItems, found: list[Story]) -> str:
    """Render the level-by-level encoding of single items.

    Args:
        items: The catalogue.
        found: The stories of the items.

    Returns:
        HTML.
    """
    cards = "".join(_story(items, story) for story in found)
    return (
        '<h2 id="stories">What did an item go through?</h2><p class="lead">Level by level: the chosen code, its '
        "residual, the next best codes with the residual they would have left, and the other items with this "
        f"prefix.</p>{cards}"
    )


def _node(items: ReportItems, prefix: Prefix, largest: int) -> str:
    about = escape("; ".join(items.titles[row] for row in prefix.examples))
    width = max(round(_BAR_PX * prefix.num_items / max(largest, 1)), 1)
    head = (
        f'<summary><span class="chip">{format_sid(prefix.codes)}</span><span class="share"><i style="width:{width}px">'
        f'</i>{prefix.num_items:,}</span><span class="about">{about}</span></summary>'
    )
    if not prefix.branches:
        return f"<details>{head}{_leaves(items, prefix)}</details>"
    below = "".join(_node(items, branch, prefix.branches[0].num_items) for branch in prefix.branches)
    return f"<details>{head}{below}{_rest(prefix)}</details>"


def _leaves(items: ReportItems, prefix: Prefix) -> str:
    lines = "".join(
        f'<li><span class="chip">{format_sid(items.codes[row])}</span> {escape(items.titles[row])}</li>'
        for row in prefix.examples
    )
    hidden = prefix.num_items - len(prefix.examples)
    more = f"<li>and {hidden:,} more</li>" if hidden > 0 else ""
    return f'<ul class="items">{lines}{more}</ul>' if lines else ""


def _rest(prefix: Prefix) -> str:
    hidden = prefix.num_branches - len(prefix.branches)
    if hidden <= 0:
        return ""
    held = prefix.num_items - sum(branch.num_items for branch in prefix.branches)
    return f'<p class="more">{hidden:,} smaller prefixes hold {held:,} items.</p>'


def _story(items: ReportItems, story: Story) -> str:
    day = datetime.fromtimestamp(int(items.arrived_at[story.row]) / 1e3, UTC).strftime("%Y-%m-%d")
    longest = story.steps[0].before if story.steps else 1.0
    rows = "".join(_step(items, level, step, longest) for level, step in enumerate(story.steps))
    return (
        f'<div class="card wide" style="margin:12px 0"><h3>{escape(items.titles[story.row])}</h3><p class="note">'
        f'{escape(story.why)} · <span class="chip">{format_sid(items.codes[story.row])}</span> · {day} · '
        f'<code>{escape(items.item_ids[story.row])}</code></p><div class="scroll"><table><tr><th>level</th><th>code'
        "</th><th>residual</th><th>next best (their residual)</th><th>items with this prefix</th></tr>"
        f"{rows}</table></div></div>"
    )


def _step(items: ReportItems, level: int, step: LevelStep, longest: float) -> str:
    scale = 100.0 / max(longest, 1e-9)
    others = ", ".join(f"{code} ({left:.3f})" for code, left in step.others) or "–"
    others_here = "; ".join(escape(items.titles[row]) for row in step.neighbours)
    others_here += f" … {step.num_items - 1:,} in all" if step.num_items - 1 > len(step.neighbours) else ""
    return (
        f'<tr><td class="n">{level}</td><td><span class="chip">{step.code}</span></td><td><div class="left"><span '
        f'style="width:{step.before * scale:.0f}px"><i style="width:{step.after * scale:.0f}px"></i></span>'
        f"{step.before:.3f} → {step.after:.3f}</div></td><td>{others}</td><td>{others_here or 'none'}</td></tr>"
    )
