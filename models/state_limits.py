"""Limits of a user's state that settings are checked against; separate from the layout, which needs numpy."""

from typing import Final

MAX_EVENT_IDS: Final = 32
