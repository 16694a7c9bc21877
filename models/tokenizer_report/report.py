"""Writing of the tokenizer report for a log folder and a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sidestream.models.data import LogFolder
from sidestream.models.evaluation.versions import encode_with_both
from sidestream.models.tokenizer_report.against import set_against
from sidestream.models.tokenizer_report.gather import gather
from sidestream.models.tokenizer_report.page import render
from sidestream.tokenizer.drift import DriftSettings
from sidestream.tokenizer.durable import replace_file
from sidestream.tokenizer.tokenizer import CatalogTokenizer


def write_report(
    folder: LogFolder,
    tokenizer: CatalogTokenizer,
    out: Path,
    limits: DriftSettings,
    against: CatalogTokenizer | None = None,
    asked: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, object]:
    """Write the page.

    Args:
        folder: Log folder.
        tokenizer: The tokenizer to report on.
        out: The HTML file; an existing one is replaced.
        limits: Window and limits of the drift alarms.
        against: Another version to compare with.
        asked: Ids of the items to show.
        seed: Random seed of the comparison.

    Returns:
        A summary for display.

    Raises:
        DataError: The log is damaged or publishes no item.
    """
    items = gather(folder, tokenizer)
    other = None
    if against is not None:
        other = set_against(*encode_with_both(folder, against, tokenizer), np.random.default_rng(seed))
    page = render(items, limits, other, list(asked)).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, page)
    return {
        "report": str(out),
        "bytes": len(page),
        "tokenizer_version": items.version,
        "items": len(items.codes),
        "drift_reference": "of the tokenizer" if items.own_reference else "none: measured on this log",
        "against": against.version if against else None,
    }
