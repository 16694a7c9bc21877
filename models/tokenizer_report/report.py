"""Owns the one call from a log folder and a tokenizer to the page on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.data import LogFolder
from models.data.atomic import replace_file
from models.evaluation.catalogue import item_contents
from models.tokenizer_report.against import Against, set_against
from models.tokenizer_report.gather import ReportItems, gather
from models.tokenizer_report.page import render
from tokenizer.drift import DriftSettings
from tokenizer.tokenizer import CatalogTokenizer


def write_report(
    folder: LogFolder,
    tokenizer: CatalogTokenizer,
    out: Path,
    limits: DriftSettings,
    against: CatalogTokenizer | None = None,
    asked: Sequence[str] = (),
) -> dict[str, object]:
    """Write the page.

    Args:
        folder: Log folder.
        tokenizer: The tokenizer to report on.
        out: The HTML file; an older one is replaced.
        limits: Window and limits of the drift alarms.
        against: Another version to set beside it.
        asked: Ids of the items whose stories are told.

    Returns:
        What was written, for people.

    Raises:
        DataError: The log is damaged or publishes no item.
    """
    items = gather(folder, tokenizer)
    other = _beside(folder, items, tokenizer, against) if against else None
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


def _beside(folder: LogFolder, items: ReportItems, tokenizer: CatalogTokenizer, against: CatalogTokenizer) -> Against:
    contents = item_contents(folder, items.item_ids)
    content = tokenizer.content_vectors(contents).astype(np.float64)
    old = against.encode_items(contents).codes
    return set_against(against.version, old, items.codes, content - content.mean(axis=0))
