"""A tokenizer on one page: what a catalogue engineer looks at before a version goes live, and when an alarm rings.

Pure from arrays to HTML: `gather` reads a log folder, everything after it draws. The page needs no network and no
script; it follows the reader's dark or light setting.
"""

from sidestream.models.tokenizer_report.gather import ReportItems, gather
from sidestream.models.tokenizer_report.page import render
from sidestream.models.tokenizer_report.report import write_report

__all__ = ["ReportItems", "gather", "render", "write_report"]
