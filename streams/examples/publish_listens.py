"""Publish a listener's evening: three items of one creator, the last one liked."""

import time
import uuid
from collections import defaultdict

from sidestream.models.records import ItemSids, Listen
from sidestream.streams.client import SidestreamClient
from sidestream.streams.examples.connecting import run

HALF_AN_HOUR_MS = 1_800_000


def choose(catalogue: dict[str, ItemSids]) -> list[ItemSids]:
    """Choose three items of whoever made most of them; fewer where nobody has three."""
    by_creator: dict[str, list[ItemSids]] = defaultdict(list)
    for item in catalogue.values():
        if item.expires_at is None:
            by_creator[item.show or item.creator or item.kind].append(item)
    return max(by_creator.values(), key=len, default=[])[:3]


def main(client: SidestreamClient, user_id: str = "ada") -> None:
    """Publish, and wait until Kafka has it all."""
    evening = choose(client.read_catalogue())
    if not evening:
        print("the catalogue is empty; play something first: sidestream demo")
        return
    now = time.time_ns() // 1_000_000
    for number, item in enumerate(evening):
        at = now - (len(evening) - number) * HALF_AN_HOUR_MS
        listen = Listen(event_id=str(uuid.uuid4()), user_id=user_id, item_id=item.item_id, at=at, listened_ms=1_500_000)
        client.publish_listen(listen)
        print(f"{user_id} listens to {item.title or item.item_id} ({item.show or item.creator or item.kind})")
    like = Listen(event_id=str(uuid.uuid4()), user_id=user_id, item_id=evening[-1].item_id, at=now, signal="like")
    client.publish_listen(like)
    client.flush()
    print(f"and likes the last one: {len(evening) + 1} events published")


if __name__ == "__main__":
    run(main)
