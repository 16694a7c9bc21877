"""Publish a listener's evening: three episodes, the last one liked."""

import sys
import time
import uuid

from sidestream.models.records import Listen
from sidestream.streams.client import SidestreamClient


def main(client: SidestreamClient, user_id: str = "ada") -> None:
    """Publish and wait until Kafka has them all."""
    now = time.time_ns() // 1_000_000
    for number, item_id in enumerate(("episode-1", "episode-2", "episode-3")):
        at = now - (3 - number) * 1_800_000
        listen = Listen(event_id=str(uuid.uuid4()), user_id=user_id, item_id=item_id, at=at, listened_ms=1_500_000)
        client.publish_listen(listen)
    client.publish_listen(
        Listen(event_id=str(uuid.uuid4()), user_id=user_id, item_id="episode-3", at=now, signal="like")
    )
    client.flush()
    print(f"4 listens of {user_id} published")


if __name__ == "__main__":
    with SidestreamClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092") as sidestream:
        main(sidestream)
