"""One Apache Kafka node: its folder and files, its JVM, and its process.

The folder may have any UTF-8 name: it is the JVM's working folder, so that most paths are relative, and the JVM runs in
a UTF-8 locale, without which Java replaces non-ASCII letters of a path by question marks.
"""

import base64
import os
import signal
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template

from sidestream.streams.broker import jars, process
from sidestream.streams.broker.properties import escaped
from sidestream.streams.broker.settings import LOAD_HEAP_MB, BrokerSettings
from sidestream.streams.errors import BrokerError

HOST = "127.0.0.1"
MAX_LOG_BYTES = 8 << 20
FORMAT_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 10.0
LOG_CONFIGURATION = "log4j2.properties"
# Names in the folder of a node.
PROPERTIES_FILE = "server.properties"
LOG_FILE = "kafka.log"
TOPICS_FOLDER = "topics"
# Added to the properties of each of several nodes.
_SEVERAL_FILE = "several.properties"
_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A started node.

    Attributes:
        pid: Its process.
        port: Port for clients.
        properties: Its properties file; its folder is the node's.
        log: Its log file.
        archive: File that the JVM writes its class archive to when it exits; None if it writes none.
        number: Node id, from 1.
    """

    pid: int
    port: int
    properties: str
    log: str
    archive: str | None = None
    number: int = 1

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def mark(self) -> str:
        """Text that only the command line of this node contains."""
        return f"kafka.Kafka {self.properties}"

    @property
    def is_running(self) -> bool:
        """Whether that process is running, and not another one with its number."""
        return process.is_running(self.pid, self.mark)

    def stop(self, timeout_s: float) -> bool:
        """Stop it in order, or kill it after a time; return whether it ended without a kill."""
        return process.end(self.pid, self.mark, timeout_s)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._signal(signal.SIGKILL)
        process.wait_gone(self.pid, self.mark, KILL_TIMEOUT_S)

    def pause(self) -> None:
        """Stop its process from running until `resume`: its connections stay open and answer nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process run on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def node_folders(data_dir: Path, count: int) -> list[Path]:
    """Return the folders of the nodes: the data folder itself for one, one below it for each of several."""
    return [data_dir] if count == 1 else [data_dir / f"node-{number}" for number in range(1, count + 1)]


def count_nodes(data_dir: Path) -> int | None:
    """Count the nodes whose data a folder holds; None if it holds none."""
    if (data_dir / TOPICS_FOLDER / "meta.properties").exists():
        return 1
    return len(list(data_dir.glob(f"node-*/{TOPICS_FOLDER}/meta.properties"))) or None


def configure(
    settings: BrokerSettings, data_dir: Path, ports: Sequence[int], controller_ports: Sequence[int]
) -> list[Path]:
    """Write the configuration files of all nodes.

    Args:
        settings: Kafka's own files.
        data_dir: Data folder of the broker.
        ports: Client port of each node.
        controller_ports: Controller port of each node.

    Returns:
        The properties file of each node.
    """
    folders, files = node_folders(data_dir, len(ports)), jars.kafka_files(settings)
    voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controller_ports, start=1))
    template = (files / PROPERTIES_FILE).read_text(encoding="utf-8")
    if len(folders) > 1:
        template += (jars.own_files() / _SEVERAL_FILE).read_text(encoding="utf-8")
    replicas = min(len(folders), _REPLICAS)
    written = []
    for number, (folder, port, controller_port) in enumerate(
        zip(folders, ports, controller_ports, strict=True), start=1
    ):
        folder.mkdir(parents=True, exist_ok=True)
        # A copy: log4j may split the package's path or parse it as a URL.
        (folder / LOG_CONFIGURATION).write_bytes((files / LOG_CONFIGURATION).read_bytes())
        data = folder / TOPICS_FOLDER
        # Kafka splits its list of data folders at commas: a path with a comma is relative to the working folder.
        named = data.name if "," in str(data) else str(data)
        text = Template(template).substitute(
            port=port,
            controller_port=controller_port,
            data=escaped(named),
            node=number,
            voters=voters,
            replicas=replicas,
            min_isr=max(1, replicas - 1),
        )
        written.append(folder / PROPERTIES_FILE)
        written[-1].write_text(text, encoding="utf-8")
    return written


def launch(settings: BrokerSettings, cluster: Path, properties: Path, port: int, number: int, count: int) -> Node:
    """Start the process of a configured node; it does not answer yet.

    Args:
        settings: Java, jars and heap.
        cluster: Data folder of the broker, from which the id of its cluster is derived.
        properties: The node's properties file.
        port: Its client port.
        number: Its node id.
        count: How many nodes the broker has.

    Returns:
        The node.

    Raises:
        BrokerError: Java or the jars are missing, or the data folder cannot be formatted.
    """
    java, lib = jars.find_java(settings), jars.ensure_jars(settings)
    folder, log = properties.parent, properties.parent / LOG_FILE
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    archive = jars.class_archive(settings, java)
    jvm = _jvm_command(java, lib, settings.heap_of_node_mb(count))
    if archive.exists():
        jvm.append(f"-XX:SharedArchiveFile={archive}")
    if not (folder / TOPICS_FOLDER / "meta.properties").exists():
        _format(jvm, properties, cluster, log)
    # One node writes the class archive for all later starts: the last, which stops in order when all are stopped.
    new_archive = None if archive.exists() or number < count else folder / "classes.jsa"
    if new_archive is not None:
        new_archive.unlink(missing_ok=True)
        jvm.append(f"-XX:ArchiveClassesAtExit={new_archive.name}")
    pid = process.spawn([*jvm, "kafka.Kafka", str(properties)], log, cwd=folder, env=_environment())
    return Node(pid, port, str(properties), str(log), str(new_archive) if new_archive else None, number)


def cache_archive(settings: BrokerSettings, written: Path) -> None:
    """Move the class archive to the cache; only after a clean exit, because a killed JVM leaves a partial one.

    Args:
        settings: Cache folder and Java.
        written: The archive; nothing happens if it does not exist.
    """
    if not written.is_file():
        return
    target = jars.class_archive(settings, jars.find_java(settings))
    # Copied next to the target first: data and cache folder may be on different file systems.
    partial = target.with_suffix(f".{uuid.uuid4().hex}.partial")
    partial.write_bytes(written.read_bytes())
    partial.replace(target)
    written.unlink()


def _environment() -> dict[str, str]:
    # The locale determines how a JVM encodes file names.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _jvm_command(java: Path, lib: Path, heap_mb: int) -> list[str]:
    # A small node starts fast and leaves the cores to others. A large heap is for load, as in Kafka's own scripts.
    least_mb, collector = min(96, heap_mb), ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    if heap_mb >= LOAD_HEAP_MB:
        least_mb = heap_mb
        collector = ["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]
    return [
        str(java),
        f"-Xms{least_mb}m",
        f"-Xmx{heap_mb}m",
        *collector,
        "-Xshare:auto",
        "-Xlog:disable",  # no warning about an archive that does not fit: the JVM continues without it
        "-Xlog:all=error:stderr",
        "-XX:-UsePerfData",
        f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}",
        "-cp",
        f"{lib}/*",
    ]


def _format(jvm: list[str], properties: Path, cluster: Path, log: Path) -> None:
    # Any 16 bytes will do; they are derived from the folder to be reproducible. A leading dash would be an option.
    cluster_id = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(cluster)).bytes)[:22].decode()
    command = [*jvm, "kafka.tools.StorageTool", "format", "-t", cluster_id.replace("-", "A"), "-c", str(properties)]
    answer = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=FORMAT_TIMEOUT_S,
        check=False,
        cwd=properties.parent,
        env=_environment(),
    )
    with log.open("a", encoding="utf-8") as out:
        out.write(answer.stdout + answer.stderr)
    if answer.returncode != 0:
        msg = (
            f"Kafka's data folder {properties.parent} cannot be formatted (exit status {answer.returncode}); see {log}"
        )
        raise BrokerError(msg)
