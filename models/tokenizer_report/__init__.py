"""Tokenizer report: one HTML page to inspect a version before it is rolled out, and after a drift alarm.

Pure functions from arrays to HTML: `gather` reads a log folder, everything after it renders. The page needs no network
and no script; it follows the reader's dark or light setting.
"""

from sidestream.models.tokenizer_report.gather import ReportItems, gather
from sidestream.models.tokenizer_report.page import render
from sidestream.models.tokenizer_report.report import write_report

__all__ = ["ReportItems", "gather", "render", "write_report"]
