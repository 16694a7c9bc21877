"""Owns the demo's folder: one demo at a time in it, and nothing of an earlier one still running there."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestream.streams.broker import BrokerSettings, stop_broker
from sidestream.streams.errors import BrokerError

KAFKA = "kafka"


@contextmanager
def demo_place(folder: Path, broker: BrokerSettings) -> Iterator[Path]:
    """Hold a demo's folder, made if need be; a Kafka that a killed demo left there is stopped.

    Args:
        folder: The demo's folder.
        broker: Limits for stopping; its data folder is the demo's own.

    Yields:
        The folder as an absolute path.

    Raises:
        BrokerError: Another demo runs there.
    """
    place = folder.absolute()
    place.mkdir(parents=True, exist_ok=True)
    with (place / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            msg = f"{place}: another demo runs there; end it, or give this one a folder of its own with --data-dir"
            raise BrokerError(msg) from exc
        stop_broker(broker.model_copy(update={"data_dir": place / KAFKA}))
        yield place
