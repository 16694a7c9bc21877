"""Which workers of this machine a command asks."""

from collections.abc import Sequence
from pathlib import Path

from sidestream.streams.errors import BrokerError
from sidestream.streams.running.brokers import broker_registry
from sidestream.streams.running.workers import WorkerEntry, worker_registry


def workers_to_ask(bootstrap: str | None, broker: str | None, data_dir: Path) -> list[WorkerEntry]:
    """Find the workers that hold the states a command asks for.

    Args:
        bootstrap: Address of a Kafka, if one is given: the workers of that Kafka.
        broker: Name of a local broker, if one is given: the workers of that broker.
        data_dir: Else the workers of this data folder's broker; else those started from the working folder; else those
            of the only Kafka that workers of this machine use.

    Returns:
        Workers of one Kafka; none where no worker of this machine fits.

    Raises:
        BrokerError: Workers of several run, and none is this folder's; or the broker that is named does not run.
    """
    running = [worker for worker in worker_registry().running() if worker.role != "tokenize"]
    if bootstrap is not None:
        return _of(running, bootstrap)
    brokers = broker_registry().running()
    if broker is not None:
        named = next((entry for entry in brokers if entry.name == broker), None)
        if named is None:
            names = ", ".join(entry.name for entry in brokers) or "none"
            msg = f"broker.name: expected a running local broker called {broker!r}, got none (running: {names})"
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
    told = ", ".join(f"{address}{names_by_address.get(address, '')}" for address in sorted(kafkas))
    msg = f"workers of several Kafkas run: {told}; choose one with --broker NAME or --bootstrap"
    raise BrokerError(msg)


def _of(workers: Sequence[WorkerEntry], bootstrap: str) -> list[WorkerEntry]:
    return [worker for worker in workers if worker.bootstrap == bootstrap]
