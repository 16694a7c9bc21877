"""The local Apache Kafka, one node or several: started in the background, recognised, stopped.

The broker belongs to its data folder: ports and process ids of its nodes are written there (`broker.json`), so that any
later command finds them. `start` is idempotent, and starts nodes that are missing; a lock in the folder serialises
concurrent starts.
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sidestream.streams.broker import jars, node, probe, process
from sidestream.streams.broker.node import HOST, LOG_FILE, PROPERTIES_FILE, Node
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError
from sidestream.streams.running.brokers import broker_registry
from sidestream.tokenizer.durable import naming

MAX_PORT_RACES = 3
WITHOUT_MAJORITY_S = 1.0
# In the data folder.
STATE_FILE = "broker.json"


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """A started broker, as stored in its data folder.

    Attributes:
        nodes: Its nodes by number; some of several may have ended since.
    """

    nodes: tuple[Node, ...]

    @property
    def bootstrap(self) -> str:
        """Address for clients: those of all nodes."""
        return ",".join(one.bootstrap for one in self.nodes)

    @property
    def running(self) -> list[Node]:
        """The nodes whose processes run."""
        return [one for one in self.nodes if one.is_running]

    @property
    def pid(self) -> int:
        """Process id of the first node that runs, which stands for the broker."""
        return next(iter([*self.running, self.nodes[0]])).pid

    @property
    def log(self) -> str:
        """Log file of the first node."""
        return self.nodes[0].log

    @property
    def is_running(self) -> bool:
        """Whether any node is running."""
        return bool(self.running)

    def node(self, number: int) -> Node:
        """Return a node by its number, from 1."""
        return self.nodes[number - 1]


def find(settings: BrokerSettings) -> LocalKafka | None:
    """Find the running broker of this data folder, by the folder's file or by the registry; `None` if none runs."""
    found = (read(_folder(settings)) for read in (_stored, _registered))
    return next((kafka for kafka in found if kafka is not None and kafka.is_running), None)


def start(settings: BrokerSettings) -> tuple[LocalKafka, bool]:
    """Start the broker, or find it if it is running.

    Args:
        settings: Number of nodes, port, folders, limits.

    Returns:
        The broker, all of whose nodes answer, and whether this call started it.

    Raises:
        BrokerError: Java or the jars are missing, a port is in use, the data folder has another number of nodes, or a
            node does not start.
    """
    folder = _folder(settings)
    _require_utf8(folder)
    jars.kafka_home(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with process.exclusive(folder / "start.lock"), naming(folder):
        running = find(settings)
        if running is not None:
            _require_count(settings, folder, len(running.nodes))
            for one in running.nodes:
                running = running if one.is_running else _restart(settings, folder, running, one.number)
            _wait_answering(running.nodes, settings)
            return running, False
        count = _require_count(settings, folder, node.count_nodes(folder))
        for _ in range(MAX_PORT_RACES):
            kafka = _launch(settings, folder, count)
            try:
                _wait_answering(kafka.nodes, settings)
            except BrokerError as error:
                _stop(kafka.nodes, settings)
                # Between choosing a free port and listening on it, another program can take it.
                if "Address already in use" not in str(error):
                    raise
                lost_race = error
            except BaseException:
                # Ctrl-C: the caller does not know the broker yet, and could not stop it.
                _stop(kafka.nodes, settings)
                raise
            else:
                return kafka, True
        raise lost_race


def start_node(settings: BrokerSettings, number: int, *, waits: bool = True) -> Node:
    """Start a node of a broker again, with its ports and its data, after it was stopped or killed.

    Args:
        settings: Data folder and limits.
        number: The node, from 1.
        waits: Whether to wait until it answers, which needs a majority of the nodes.

    Returns:
        The node.

    Raises:
        BrokerError: No broker was started in this folder, or the node does not start.
    """
    folder = _folder(settings)
    with process.exclusive(folder / "start.lock"), naming(folder):
        kafka = _stored(folder)
        if kafka is None:
            msg = f"node {number}: expected a broker that was started in {folder}, got none; start it first"
            raise BrokerError(msg)
        if not kafka.node(number).is_running:
            kafka = _restart(settings, folder, kafka, number)
        if waits:
            _wait_answering([kafka.node(number)], settings)
        return kafka.node(number)


def stop(settings: BrokerSettings) -> bool:
    """Stop all nodes of this data folder's broker, and never another process.

    Args:
        settings: Data folder and limits.

    Returns:
        Whether a node was running.
    """
    kafka = find(settings)
    if kafka is None:
        return False
    in_order = _stop(kafka.nodes, settings)
    _state_file(settings).unlink(missing_ok=True)
    last = kafka.nodes[-1]
    if last in in_order and (archive := last.archive) is not None:
        node.cache_archive(settings, Path(archive))
    return True


def started_at(settings: BrokerSettings) -> int:
    """Return the start time of this data folder's broker, UTC epoch ms: the time of the file that `start` wrote."""
    return _state_file(settings).stat().st_mtime_ns // 1_000_000


def _stored(folder: Path) -> LocalKafka | None:
    try:
        found = json.loads((folder / STATE_FILE).read_text())
        # One node is stored as such, as releases that know no others do.
        return LocalKafka(tuple(Node(**one) for one in found.get("nodes", [found])))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _store(folder: Path, kafka: LocalKafka) -> LocalKafka:
    nodes = [asdict(one) for one in kafka.nodes]
    if len(nodes) == 1:
        del nodes[0]["number"]
    partial = (folder / STATE_FILE).with_suffix(".partial")
    partial.write_text(json.dumps(nodes[0] if len(nodes) == 1 else {"nodes": nodes}))
    partial.replace(folder / STATE_FILE)
    return kafka


def _registered(folder: Path) -> LocalKafka | None:
    """Describe this folder's only node from the registry: its file may be lost, or be that of an earlier node."""
    for entry in broker_registry().running():
        if entry.kind == "kafka" and entry.data_dir == str(folder) and "," not in entry.bootstrap:
            port = int(entry.bootstrap.rpartition(":")[2])
            log = entry.log or str(folder / LOG_FILE)
            return LocalKafka((Node(entry.pid, port, str(folder / PROPERTIES_FILE), log),))
    return None


def _folder(settings: BrokerSettings) -> Path:
    return settings.data_dir.expanduser().resolve()


def _require_utf8(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        msg = f"broker.data_dir: expected a UTF-8 path, as Java requires, got {os.fsencode(folder)!r}"
        raise BrokerError(msg) from error


def _require_count(settings: BrokerSettings, folder: Path, held: int | None) -> int:
    """Return the number of nodes to start: that of the folder's data, which must be the one asked for."""
    if held is None:
        return settings.brokers or 1
    if settings.brokers not in (None, held):
        msg = (
            f"broker.brokers: expected {held}, as many as have their data in {folder}, got {settings.brokers}; omit "
            "it, or give the other broker a folder of its own (--data-dir)"
        )
        raise BrokerError(msg)
    return held


def _state_file(settings: BrokerSettings) -> Path:
    return _folder(settings) / STATE_FILE


def _launch(settings: BrokerSettings, folder: Path, count: int) -> LocalKafka:
    # Missing Java or jars are reported before anything is written.
    jars.find_java(settings)
    jars.ensure_jars(settings)
    free = probe.free_ports(2 * count)
    ports, controller_ports = free[:count], free[count:]
    ports[0] = _port(settings) or ports[0]
    written = node.configure(settings, folder, ports, controller_ports)
    nodes: list[Node] = []
    try:
        for number, (properties, port) in enumerate(zip(written, ports, strict=True), start=1):
            nodes.append(node.launch(settings, folder, properties, port, number, count))
    except BaseException:
        _stop(nodes, settings)
        raise
    return _store(folder, LocalKafka(tuple(nodes)))


def _restart(settings: BrokerSettings, folder: Path, kafka: LocalKafka, number: int) -> LocalKafka:
    before = kafka.node(number)
    again = node.launch(settings, folder, Path(before.properties), before.port, number, len(kafka.nodes))
    nodes = tuple(again if one.number == number else one for one in kafka.nodes)
    return _store(folder, replace(kafka, nodes=nodes))


def _stop(nodes: Sequence[Node], settings: BrokerSettings) -> list[Node]:
    """Stop nodes; return those that ended without a kill."""
    if len(nodes) == 1:
        return [one for one in nodes if one.stop(settings.stop_timeout_s)]
    majority = len(nodes) // 2 + 1
    in_order = [one for one in reversed(nodes[majority:]) if one.stop(settings.stop_timeout_s)]
    # A node asks the controllers before it stops, which do not answer once their majority is gone: these are killed,
    # which loses nothing.
    timeout_s = min(settings.stop_timeout_s, WITHOUT_MAJORITY_S)
    with ThreadPoolExecutor(majority) as pool:
        is_clean = list(pool.map(lambda one: one.stop(timeout_s), nodes[:majority]))
    return in_order + [one for one, ended in zip(nodes[:majority], is_clean, strict=False) if ended]


def _port(settings: BrokerSettings) -> int:
    """Choose the first node's port; 0 (any free one) if another local broker uses the default port."""
    if not settings.port or probe.is_port_free(settings.port):
        return settings.port
    address = f"{HOST}:{settings.port}"
    holder = next((e for e in broker_registry().running() if address in e.bootstrap.split(",")), None)
    if holder is not None and settings.port == BrokerSettings.model_fields["port"].default:
        return 0
    who = f"broker {holder.name} of {holder.data_dir}" if holder is not None else "another program"
    msg = (
        f"expected port {settings.port} to be free for the local Kafka, but {who} listens there; "
        "set kafka.bootstrap to use that Kafka, or broker.port to another port (0: any free one)"
    )
    raise BrokerError(msg)


def _wait_answering(nodes: Iterable[Node], settings: BrokerSettings) -> None:
    deadline = time.monotonic() + settings.start_timeout_s
    for one in nodes:
        while not probe.is_answering(HOST, one.port):
            if not one.is_running:
                msg = f"the local Kafka ended during its start: {_last_error(Path(one.log))}; see {one.log}"
                raise BrokerError(msg)
            if time.monotonic() > deadline:
                msg = (
                    f"the local Kafka did not answer on {one.bootstrap} within {settings.start_timeout_s:.0f} s; "
                    f"see {one.log}, or increase broker.start_timeout_s"
                )
                raise BrokerError(msg)
            time.sleep(process.POLL_S)


def _last_error(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "no log was written"
    errors = [line for line in lines if "ERROR" in line or "Exception" in line or "Error:" in line]
    return (errors or lines or ["nothing was logged"])[-1].strip()
