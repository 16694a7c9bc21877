"""Put a new episode into the catalogue while everything runs: it can be recommended within a second."""

import time

from sidestream.models.records import CatalogItem, ItemSids
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.connecting import run

POLL_S = 0.1


def main(client: SidestreamClient, item_id: str = "episode-new", timeout_s: float = 30.0) -> None:
    """Publish the item and show its SID; `client.remove_item(item_id)` takes it out again."""
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
    print(f"{item.title}: published as {item_id}")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        catalogue = client.read_catalogue()
        if item_id in catalogue:
            tell(catalogue[item_id], catalogue)
            return
        time.sleep(POLL_S)
    print("no worker has tokenized it; start one: sidestream up")


def tell(new: ItemSids, catalogue: dict[str, ItemSids]) -> None:
    """Print where the tokenizer has put an item, and what shares the first code of its SID."""
    version, tokenized = next(reversed(new.versions.items()))
    print(f"its SID is {'-'.join(map(str, tokenized.sid))}; next to it:")
    for other in catalogue.values():
        found = other.versions.get(version)
        if other.item_id != new.item_id and found is not None and found.sid[0] == tokenized.sid[0]:
            print(f"  {'-'.join(map(str, found.sid)):12s} {other.title or other.item_id}")


if __name__ == "__main__":
    run(main)
