"""Java and the jars of Apache Kafka: found, or fetched once into a cache that all checkouts share.

The jars (45 files, 45 MB) come through Maven with `deploy/kafka/pom.xml`. They are fetched into a folder of their
own under a lock and renamed into place, so that two commands at once fetch once and a broken fetch leaves nothing.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from sidestream.streams.broker.process import exclusive
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError

MIN_JAVA = 17
KAFKA_FILES = Path(__file__).resolve().parents[2] / "deploy" / "kafka"


def kafka_files(settings: BrokerSettings) -> Path:
    """Find the folder with Kafka's pom and properties.

    Args:
        settings: May name another folder than the checkout's.

    Returns:
        The folder.

    Raises:
        BrokerError: It is not there, as in an install without the checkout.
    """
    folder = (settings.kafka_files or KAFKA_FILES).expanduser().resolve()
    if not (folder / "pom.xml").is_file():
        msg = f"expected Kafka's pom.xml in {folder}, got none; set broker.kafka_files to a copy of deploy/kafka"
        raise BrokerError(msg)
    return folder


def kafka_home(settings: BrokerSettings) -> Path:
    """Say where this version of Kafka is kept: jars below `lib`, class archives beside it."""
    return settings.cache_dir.expanduser().resolve() / f"kafka-{settings.kafka_version}"


def find_java(settings: BrokerSettings) -> Path:
    """Find a Java that can run Kafka 4.

    Args:
        settings: Names it.

    Returns:
        Path of the executable.

    Raises:
        BrokerError: There is none, or it is too old.
    """
    found = shutil.which(settings.java)
    if found is None:
        msg = f"expected Java {MIN_JAVA} or newer as {settings.java!r}, got none; install a JRE or set broker.java"
        raise BrokerError(msg)
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if version is None or int(version.group(1)) < MIN_JAVA:
        got = version.group(1) if version else (answer.stderr or answer.stdout).strip().splitlines()[:1]
        msg = f"expected Java {MIN_JAVA} or newer at {found}, got {got}; install a newer JRE or set broker.java"
        raise BrokerError(msg)
    return Path(found)


def class_archive(settings: BrokerSettings, java: Path) -> Path:
    """Name the AppCDS archive of one Java and one Kafka; it halves the start (2.0 s to 1.0 s) but fits no other JVM."""
    real = java.resolve()
    identity = f"{real}:{real.stat().st_mtime_ns}:{settings.kafka_version}"
    return kafka_home(settings) / f"kafka-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsa"


def has_jars(settings: BrokerSettings) -> bool:
    """Whether the cache holds every jar with the size it had when it was fetched."""
    home = kafka_home(settings)
    try:
        sizes = json.loads((home / "lib" / "jars.json").read_text())
        return all((home / "lib" / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def require_kafka(settings: BrokerSettings) -> None:
    """Make sure that a local Kafka could be started, without fetching anything.

    Args:
        settings: Java, Maven, cache.

    Raises:
        BrokerError: What is missing and how to get it.
    """
    find_java(settings)
    if not has_jars(settings):
        _find_maven(settings)
        kafka_files(settings)


def ensure_jars(settings: BrokerSettings) -> Path:
    """Have Kafka's jars in the cache; safe to call from several processes at once.

    Args:
        settings: Version, cache and Maven.

    Returns:
        The folder of the jars.

    Raises:
        BrokerError: They are not cached and Maven is missing or failed.
    """
    home = kafka_home(settings)
    lib = home / "lib"
    if has_jars(settings):
        return lib
    maven, files = _find_maven(settings), kafka_files(settings)
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "fetch.lock"):
        if has_jars(settings):  # somebody fetched them while we waited
            return lib
        fetched = home / "lib.partial"
        shutil.rmtree(fetched, ignore_errors=True)
        _fetch(settings, maven, files / "pom.xml", fetched)
        sizes = {jar.name: jar.stat().st_size for jar in sorted(fetched.glob("*.jar"))}
        (fetched / "jars.json").write_text(json.dumps(sizes, indent=1))
        shutil.rmtree(lib, ignore_errors=True)
        fetched.rename(lib)
    return lib


def _find_maven(settings: BrokerSettings) -> str:
    found = shutil.which(settings.maven)
    if found is None:
        msg = (
            f"Kafka's jars are not in {kafka_home(settings)} and Maven, which fetches them, was not found as "
            f"{settings.maven!r}; install Maven, set broker.maven, or use broker.kind = embedded"
        )
        raise BrokerError(msg)
    return found


def _fetch(settings: BrokerSettings, maven: str, pom: Path, target: Path) -> None:
    command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={target}", f"-Dkafka.version={settings.kafka_version}"]
    try:
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=settings.fetch_timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"fetching Kafka's jars took longer than {settings.fetch_timeout_s:.0f} s; check the network and retry"
        raise BrokerError(msg) from error
    if answer.returncode != 0 or not any(target.glob("kafka_2.13-*.jar")):
        lines = [line for line in (answer.stdout + answer.stderr).splitlines() if "ERROR" in line]
        reason = lines[0] if lines else f"exit status {answer.returncode}"
        msg = f"Maven could not fetch Kafka {settings.kafka_version}: {reason}; check the network and retry"
        raise BrokerError(msg)
