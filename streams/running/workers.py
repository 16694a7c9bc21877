"""Registry entries of the workers running on this machine, and the URLs of their web pages."""

from dataclasses import dataclass

from sidestream.streams.running.registry import Registry, state_folder

_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """One worker.

    Attributes:
        pid: Process id, also the name of the registry file.
        birth: Start time of the process, see `births.birth`.
        host: Host name of the machine.
        bootstrap: Bootstrap address of its Kafka cluster.
        web_host: Listen address of its web pages.
        web_port: Port of its web pages.
        app_id: Consumer group, or the prefix of its name.
        role: Role of the worker.
        instance: Number of the worker among those with the same data folder.
        data_dir: Data folder.
        folder: Working folder.
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
        """Name of the registry file."""
        return str(self.pid)

    @property
    def url(self) -> str:
        """URL of its web pages, from this machine."""
        return web_url(self.web_host, self.web_port)


def worker_registry() -> Registry[WorkerEntry]:
    """Open the registry of workers."""
    return Registry(WorkerEntry, state_folder() / "workers")


def web_url(host: str, port: int) -> str:
    """Build the URL (without a path) for a listen address; loopback stands in for a wildcard address."""
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
