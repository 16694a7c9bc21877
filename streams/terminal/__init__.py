"""Terminal output: escaped text, tables that fit the screen, and a progress line."""

from sidestream.streams.terminal.fitting import Column
from sidestream.streams.terminal.live_table import LiveTable
from sidestream.streams.terminal.printable import exact_json, printable
from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.tables import blocks, table_lines

__all__ = ["Column", "LiveTable", "Screen", "blocks", "exact_json", "printable", "table_lines"]
