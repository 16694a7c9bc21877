"""Opens the client of an example: at an address, where a settings file says, or at the local broker that runs."""

import sys
from pathlib import Path

from sidestream.streams.broker import find_broker
from sidestream.streams.client import SidestreamClient
from sidestream.streams.settings import load_settings


def open_client() -> SidestreamClient:
    """Open the client that the program's first argument names; without one, the Kafka that a command would use."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    if place is not None and not place.endswith(".toml"):
        return SidestreamClient(place)
    settings, _ = load_settings(file=None if place is None else Path(place))
    kafka = settings.kafka
    if not kafka.bootstrap:
        found = find_broker(settings.broker)
        kafka = kafka.model_copy(update={"bootstrap": found.bootstrap, "kind": found.kind})
    return SidestreamClient(kafka, settings.topics)
