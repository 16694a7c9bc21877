"""The workers that run on this machine, and where each serves its pages."""

from dataclasses import dataclass

from sidestream.streams.running.registry import Registry, state_folder

_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """One worker.

    Attributes:
        pid: Its process, also the name of its file.
        birth: When the process began.
        host: The machine.
        bootstrap: Address of its Kafka.
        web_host: Address that its pages listen on.
        web_port: Port of its pages.
        app_id: Consumer group, or its beginning.
        role: What it does.
        instance: Which of the workers with this data folder it is.
        data_dir: Its data folder.
        folder: Its working folder.
        started_at: UTC epoch ms.
    """

    pid: int
    birth: str
    host: str
    bootstrap: str
    web_host: str
    web_port: int
    app_id: str
    role: str
    instance: int
    data_dir: str
    folder: str
    started_at: int

    @property
    def key(self) -> str:
        """Name of its file."""
        return str(self.pid)

    @property
    def url(self) -> str:
        """Address of its pages, from this machine."""
        return web_url(self.web_host, self.web_port)


def worker_registry() -> Registry[WorkerEntry]:
    """Open the registry of workers."""
    return Registry(WorkerEntry, state_folder() / "workers")


def web_url(host: str, port: int) -> str:
    """Write the address of a worker's pages.

    Args:
        host: What they listen on; every interface is asked on loopback.
        port: Port.

    Returns:
        A URL without a path.
    """
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
