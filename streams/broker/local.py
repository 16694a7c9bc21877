"""One Apache Kafka node on this machine, run from its jars: started in the background, recognised, stopped.

The broker belongs to its data folder: port, process id and log file are written there (`broker.json`), so that any
later command finds it. `start` is idempotent; a lock in the folder serialises concurrent starts.

The folder may have any UTF-8 name: it is the JVM's working folder, so that most paths are relative, and the JVM runs in
a UTF-8 locale, without which Java replaces non-ASCII letters of a path by question marks.
"""

import base64
import json
import os
import subprocess
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from sidestream.streams.broker import jars, probe, process
from sidestream.streams.broker.properties import escaped
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError
from sidestream.streams.running.brokers import broker_registry
from sidestream.tokenizer.durable import naming

HOST = "127.0.0.1"
MAX_LOG_BYTES = 8 << 20
MAX_PORT_RACES = 3
FORMAT_TIMEOUT_S = 60.0
LOG_CONFIGURATION = "log4j2.properties"
# In the data folder.
STATE_FILE = "broker.json"
PROPERTIES_FILE = "server.properties"
LOG_FILE = "kafka.log"


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """A started node, as stored in its data folder."""

    pid: int
    port: int
    properties: str
    log: str
    archive: str | None = None  # file that the JVM writes its class archive to when it exits

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


def find(settings: BrokerSettings) -> LocalKafka | None:
    """Find the running node of this data folder, by the folder's file or by the registry; `None` if there is none."""
    found = (read(_folder(settings)) for read in (_stored, _registered))
    return next((kafka for kafka in found if kafka is not None and kafka.is_running), None)


def start(settings: BrokerSettings) -> tuple[LocalKafka, bool]:
    """Start the node, or find it if it is running.

    Args:
        settings: Port, folders, limits.

    Returns:
        The node, which answers, and whether this call started it.

    Raises:
        BrokerError: Java or the jars are missing, the port is in use, or the node does not start.
    """
    folder = _folder(settings)
    _require_utf8(folder)
    jars.kafka_home(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with process.exclusive(folder / "start.lock"), naming(folder):
        running = find(settings)
        if running is not None:
            _wait_answering(running, settings)
            return running, False
        for _ in range(MAX_PORT_RACES):
            kafka = _launch(settings, folder)
            try:
                _wait_answering(kafka, settings)
            except BrokerError as error:
                process.end(kafka.pid, kafka.mark, settings.stop_timeout_s)
                # Between choosing a free port and listening on it, another program can take it.
                if "Address already in use" not in str(error):
                    raise
                lost_race = error
            except BaseException:
                # Ctrl-C: the caller does not know the node yet, and could not stop it.
                process.end(kafka.pid, kafka.mark, settings.stop_timeout_s)
                raise
            else:
                return kafka, True
        raise lost_race


def stop(settings: BrokerSettings) -> bool:
    """Stop the node of this data folder, and never another process.

    Args:
        settings: Data folder and limits.

    Returns:
        Whether a node was running.
    """
    kafka = find(settings)
    if kafka is None:
        return False
    is_clean = process.end(kafka.pid, kafka.mark, settings.stop_timeout_s)
    _state_file(settings).unlink(missing_ok=True)
    if is_clean and kafka.archive is not None:
        _cache_archive(settings, Path(kafka.archive))
    return True


def _stored(folder: Path) -> LocalKafka | None:
    try:
        return LocalKafka(**json.loads((folder / STATE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _registered(folder: Path) -> LocalKafka | None:
    """Describe this folder's node from the registry: its file may be lost, or be that of an earlier node."""
    for entry in broker_registry().running():
        if entry.kind == "kafka" and entry.data_dir == str(folder):
            port = int(entry.bootstrap.rpartition(":")[2])
            log = entry.log or str(folder / LOG_FILE)
            return LocalKafka(entry.pid, port, str(folder / PROPERTIES_FILE), log)
    return None


def _folder(settings: BrokerSettings) -> Path:
    return settings.data_dir.expanduser().resolve()


def _require_utf8(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        msg = f"broker.data_dir: expected a UTF-8 path, as Java requires, got {os.fsencode(folder)!r}"
        raise BrokerError(msg) from error


def _state_file(settings: BrokerSettings) -> Path:
    return _folder(settings) / STATE_FILE


def started_at(settings: BrokerSettings) -> int:
    """Return the start time of this data folder's node, UTC epoch ms: the time of the file that `start` wrote."""
    return _state_file(settings).stat().st_mtime_ns // 1_000_000


def _launch(settings: BrokerSettings, folder: Path) -> LocalKafka:
    java, lib = jars.find_java(settings), jars.ensure_jars(settings)
    free_port, controller_port = probe.free_ports(2)
    port = _port(settings) or free_port
    properties, log = _write_files(settings, folder, port, controller_port), folder / LOG_FILE
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    archive = jars.class_archive(settings, java)
    jvm = _jvm_command(settings, java, lib)
    if archive.exists():
        jvm.append(f"-XX:SharedArchiveFile={archive}")
    if not (folder / "topics" / "meta.properties").exists():
        _format(jvm, properties, folder, log)
    new_archive = None if archive.exists() else folder / "classes.jsa"
    if new_archive is not None:
        new_archive.unlink(missing_ok=True)
        jvm.append(f"-XX:ArchiveClassesAtExit={new_archive.name}")
    pid = process.spawn([*jvm, "kafka.Kafka", str(properties)], log, cwd=folder, env=_environment())
    kafka = LocalKafka(pid, port, str(properties), str(log), str(new_archive) if new_archive else None)
    partial = _state_file(settings).with_suffix(".partial")
    partial.write_text(json.dumps(asdict(kafka)))
    partial.replace(_state_file(settings))
    return kafka


def _port(settings: BrokerSettings) -> int:
    """Choose the port; 0 (any free one) if another local broker uses the default port."""
    if not settings.port or probe.is_port_free(settings.port):
        return settings.port
    holder = next((e for e in broker_registry().running() if e.bootstrap == f"{HOST}:{settings.port}"), None)
    if holder is not None and settings.port == BrokerSettings.model_fields["port"].default:
        return 0
    who = f"broker {holder.name} of {holder.data_dir}" if holder is not None else "another program"
    msg = (
        f"expected port {settings.port} to be free for the local Kafka, but {who} listens there; "
        "set kafka.bootstrap to use that Kafka, or broker.port to another port (0: any free one)"
    )
    raise BrokerError(msg)


def _environment() -> dict[str, str]:
    # The locale determines how a JVM encodes file names.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _jvm_command(settings: BrokerSettings, java: Path, lib: Path) -> list[str]:
    return [
        str(java),
        "-Xms96m",
        f"-Xmx{settings.heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-Xlog:disable",  # no warning about an archive that does not fit: the JVM continues without it
        "-Xlog:all=error:stderr",
        "-XX:-UsePerfData",
        f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}",
        "-cp",
        f"{lib}/*",
    ]


def _write_files(settings: BrokerSettings, folder: Path, port: int, controller_port: int) -> Path:
    """Write the JVM's configuration files into its folder, and return the properties file."""
    files = jars.kafka_files(settings)
    # A copy: log4j may split the package's path or parse it as a URL.
    (folder / LOG_CONFIGURATION).write_bytes((files / LOG_CONFIGURATION).read_bytes())
    template = Template((files / PROPERTIES_FILE).read_text(encoding="utf-8"))
    data = folder / "topics"
    # Kafka splits its list of data folders at commas: a path with a comma is written relative to the working folder.
    named = data.name if "," in str(data) else str(data)
    properties = folder / PROPERTIES_FILE
    text = template.substitute(port=port, controller_port=controller_port, data=escaped(named))
    properties.write_text(text, encoding="utf-8")
    return properties


def _format(jvm: list[str], properties: Path, folder: Path, log: Path) -> None:
    # Any 16 bytes will do; they are derived from the folder to be reproducible. A leading dash would be an option.
    cluster_id = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).bytes)[:22].decode()
    command = [*jvm, "kafka.tools.StorageTool", "format", "-t", cluster_id.replace("-", "A"), "-c", str(properties)]
    answer = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=FORMAT_TIMEOUT_S,
        check=False,
        cwd=folder,
        env=_environment(),
    )
    with log.open("a", encoding="utf-8") as out:
        out.write(answer.stdout + answer.stderr)
    if answer.returncode != 0:
        msg = f"Kafka's data folder {folder} cannot be formatted (exit status {answer.returncode}); see {log}"
        raise BrokerError(msg)


def _wait_answering(kafka: LocalKafka, settings: BrokerSettings) -> None:
    deadline = time.monotonic() + settings.start_timeout_s
    while not probe.is_answering(HOST, kafka.port):
        if not kafka.is_running:
            msg = f"the local Kafka ended during its start: {_last_error(Path(kafka.log))}; see {kafka.log}"
            raise BrokerError(msg)
        if time.monotonic() > deadline:
            msg = (
                f"the local Kafka did not answer on {kafka.bootstrap} within {settings.start_timeout_s:.0f} s; "
                f"see {kafka.log}, or increase broker.start_timeout_s"
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


def _cache_archive(settings: BrokerSettings, written: Path) -> None:
    """Move the class archive to the cache; only after a clean exit, because a killed JVM leaves a partial one."""
    if not written.is_file():
        return
    target = jars.class_archive(settings, jars.find_java(settings))
    # Copied next to the target first: data and cache folder may be on different file systems.
    partial = target.with_suffix(f".{uuid.uuid4().hex}.partial")
    partial.write_bytes(written.read_bytes())
    partial.replace(target)
    written.unlink()
