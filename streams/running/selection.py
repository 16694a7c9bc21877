"""Selection of the local workers that a command queries."""

from collections.abc import Sequence
from pathlib import Path

from sidestream.streams.errors import BrokerError
from sidestream.streams.running.brokers import broker_registry
from sidestream.streams.running.workers import WorkerEntry, worker_registry


def select_workers(bootstrap: str | None, broker: str | None, data_dir: Path) -> list[WorkerEntry]:
    """Find the local workers that hold the states a command needs.

    Args:
        bootstrap: Address of a Kafka cluster; if given, selects its workers.
        broker: Name of a local broker; if given, selects its workers.
        data_dir: Otherwise, the workers of this data folder's broker are selected; else those started from the working
            folder; else those of the only Kafka cluster that workers of this machine use.

    Returns:
        Workers of one Kafka cluster; empty if no worker matches.

    Raises:
        BrokerError: Workers of several clusters run and none is of this folder, or the named broker is not running.
    """
    running = [worker for worker in worker_registry().running() if worker.role != "tokenize"]
    if bootstrap is not None:
        return _of(running, bootstrap)
    brokers = broker_registry().running()
    if broker is not None:
        named = next((entry for entry in brokers if entry.name == broker), None)
        if named is None:
            names = ", ".join(entry.name for entry in brokers) or "none"
            msg = f"broker.name: expected a running local broker named {broker!r}, got none (running: {names})"
            raise BrokerError(msg)
        return _of(running, named.bootstrap)
    here, folder = str(data_dir.expanduser().resolve()), str(Path.cwd())
    for chosen in (
        [worker for worker in running if worker.data_dir == here],
        [worker for worker in running if worker.folder == folder],
        running,
    ):
        kafkas = {worker.bootstrap for worker in chosen}
        if len(kafkas) == 1:
            return _of(running, kafkas.pop())
    if not running:
        return []
    names_by_address = {entry.bootstrap: f" (broker {entry.name})" for entry in brokers}
    found = ", ".join(f"{address}{names_by_address.get(address, '')}" for address in sorted(kafkas))
    msg = f"workers of several Kafka clusters run: {found}; choose one with --broker NAME or --bootstrap"
    raise BrokerError(msg)


def _of(workers: Sequence[WorkerEntry], bootstrap: str) -> list[WorkerEntry]:
    return [worker for worker in workers if worker.bootstrap == bootstrap]
