"""Opens the client of an example: at an address, or where a settings file says, such as that of a running demo."""

import sys
from pathlib import Path

from sidestream.streams.client import SidestreamClient
from sidestream.streams.settings import load_settings


def open_client() -> SidestreamClient:
    """Open the client that the program's first argument names; close it."""
    place = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
    if not place.endswith(".toml"):
        return SidestreamClient(place)
    settings, _ = load_settings(file=Path(place))
    return SidestreamClient(settings.kafka, settings.topics)
