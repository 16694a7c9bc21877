"""Put a new episode into the catalogue while everything runs: it can be recommended within a second."""

import sys
import time

from sidestream.models.records import CatalogItem
from sidestream.streams.client import SidestreamClient


def main(client: SidestreamClient, item_id: str = "episode-new") -> None:
    """Publish the item and wait until Kafka has it; `client.remove_item(item_id)` takes it out again."""
    item = CatalogItem(
        item_id=item_id,
        kind="episode",
        title="How deep-sea cables are laid",
        description="A ship, four thousand kilometres of glass fibre and a storm.",
        show="Quiet Machines",
        tags=("technology", "ocean"),
        at=time.time_ns() // 1_000_000,
    )
    client.publish_item(item)
    client.flush()
    print(f"{item_id} published: {item.title}")


if __name__ == "__main__":
    with SidestreamClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092") as sidestream:
        main(sidestream)
