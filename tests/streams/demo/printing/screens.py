"""A demo screen of a given width whose text can be read back."""

import io

from sidestream.streams.demo.printing.screen import Screen
from sidestream.streams.terminal import screen as terminal


def screen_of(columns, **options):
    written = io.StringIO()
    environ = {} if columns is None else {"COLUMNS": str(columns)}
    return Screen(terminal.Screen(lambda: written, environ), **options), written
