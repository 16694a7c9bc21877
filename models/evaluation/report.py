"""Evaluation report: a JSON dictionary for files and `--json`, and table rows for display."""

from collections.abc import Mapping
from typing import Any

from sidestream.models.data.quantities import quantity
from sidestream.models.evaluation.leave_one_out import COLUMNS, Scores

PROTOCOL = (
    "one held-out item a listener, full ranking over the catalogue; `plain` ranks everything, `seen_excluded` leaves "
    "out the items of the listener's history; recalls outside of `rankers` are those of `seen_excluded`; +- is one "
    "standard error"
)
_METRICS = ("recall_at_10", "recall_at_30", "ndcg_at_10")
_HEADS = {"recall_at_10": "R@10", "recall_at_30": "R@30", "ndcg_at_10": "N@10"}
_SHORT = {"plain": "", "seen_excluded": " x"}


def report(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Convert scores to plain JSON values.

    Args:
        scores: Results of each ranker, by name.

    Returns:
        `protocol`, `num_listeners`, `num_repeats`, and `rankers`: by name, column and metric the value with its
        `standard_error`.
    """
    first = next(iter(scores.values()), None)
    return {
        "protocol": PROTOCOL,
        "num_listeners": first.num_listeners if first else 0,
        "num_repeats": first.num_repeats if first else 0,
        "rankers": {name: _ranker(found) for name, found in scores.items()},
    }


def table(written: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Format a report as a table.

    Args:
        written: Result of `report`, or read from `metrics.json`.

    Returns:
        Column headers and rows of text, one row per ranker; `x` marks the columns with seen items excluded.
    """
    heads = ["ranker", *(f"{_HEADS[metric]}{_SHORT[column]}" for column in COLUMNS for metric in _METRICS)]
    rows = [
        [name, *(_cell(found[column][metric]) for column in COLUMNS for metric in _METRICS)]
        for name, found in written["rankers"].items()
    ]
    return heads, rows


def footer(written: Mapping[str, Any]) -> str:
    """Explain the table of a report.

    Args:
        written: Result of `report`, or read from `metrics.json`.

    Returns:
        One line: what the columns are, and how many targets those with `x` can never reach.
    """
    listeners, repeats = written["num_listeners"], written["num_repeats"]
    return (
        f"{quantity(listeners, 'listener')}, one held-out item each, ranked among the whole catalogue; columns with x "
        "leave out the items of the listener's history, the others nothing; held-out items that are in that history, "
        f"which x can never find: {repeats:,} of {listeners:,}; ± one standard error"
    )


def _ranker(scores: Scores) -> dict[str, dict[str, dict[str, float]]]:
    return {
        column: {
            metric: {
                "value": round(scores.metrics[column][metric].value, 6),
                "standard_error": round(scores.metrics[column][metric].standard_error, 6),
            }
            for metric in _METRICS
        }
        for column in COLUMNS
    }


def _cell(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.4f} ±{estimate['standard_error']:.4f}"
