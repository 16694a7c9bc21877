"""Runs an example with a client: of an address, of where a settings file says, or of the local broker that runs."""

import sys
from collections.abc import Callable
from pathlib import Path

from sidestream.streams.broker import find_broker
from sidestream.streams.broker.reach import require_answer
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.ending import ended_quietly
from sidestream.streams.kafka.settings import KafkaSettings
from sidestream.streams.settings import load_settings


def run(main: Callable[[SidestreamClient], None]) -> None:
    """Run a program with a client, and tell an error in one line."""
    with ended_quietly(), open_client() as client:
        main(client)


def open_client() -> SidestreamClient:
    """Open the client that the program's first argument names; without one, the Kafka that a command would use."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    if place is not None and not place.endswith(".toml"):
        kafka, topics = KafkaSettings(bootstrap=place), None
    else:
        settings, _ = load_settings(file=None if place is None else Path(place))
        kafka, topics = settings.kafka, settings.topics
    if not kafka.bootstrap:
        found = find_broker(settings.broker)
        return SidestreamClient(kafka.model_copy(update={"bootstrap": found.bootstrap, "kind": found.kind}), topics)
    require_answer(kafka)
    return SidestreamClient(kafka, topics)
