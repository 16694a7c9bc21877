"""Recommend for a list of items without any Kafka: the shipped model over the built-in world, in one process."""

import tempfile
from pathlib import Path

from sidestream import Recommender
from sidestream.models.data import LogFolder
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.examples.ending import ended_quietly


def main(folder: Path) -> None:
    """Make a world in the folder, take three items of one creator as the history, and print what to hear next."""
    generate_world(folder, WorldSettings(listeners=60, days=6))
    items = [event.item for event in LogFolder(folder).catalog() if event.item is not None]
    heard = [item for item in items if (item.creator, item.show) == (items[0].creator, items[0].show)][:3]
    recommender = Recommender.load(shipped_pair(), folder)
    print("heard:", *(f"  {item.title} ({item.show or item.creator})" for item in heard), sep="\n")
    print("next:", *(f"  {item.title}" for item in recommender.recommend([item.item_id for item in heard])), sep="\n")


if __name__ == "__main__":
    with ended_quietly(), tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch) / "world")
