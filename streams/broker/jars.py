"""Java and the jars of Apache Kafka: found, or fetched once into a cache that all checkouts share.

The jars (45 files, 45 MB) come through Maven with the `pom.xml` of this package. They are fetched into a folder of
their own under a lock and renamed into place: two commands at once fetch once, and a broken fetch leaves nothing.
"""

import hashlib
import json
import re
import shutil
import subprocess
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from sidestream.streams.broker.process import exclusive
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError

MIN_JAVA = 17
VERSION_TIMEOUT_S = 30.0
# What Maven says where it reaches no repository.
_NO_NETWORK = re.compile(
    r"unknown host|unresolved|name resolution|unreachable|connection (refused|reset|timed out)|connect timed out", re.I
)


def kafka_files(settings: BrokerSettings) -> Traversable:
    """Find Kafka's pom, properties and log configuration.

    Args:
        settings: May name another folder than the package's own.

    Returns:
        The folder.

    Raises:
        BrokerError: The folder that is named has no pom.
    """
    if settings.kafka_files is None:
        return files(__package__ or "") / "kafka"
    folder = settings.kafka_files.expanduser().resolve()
    if not (folder / "pom.xml").is_file():
        msg = (
            f"broker.kafka_files: expected pom.xml, server.properties and log4j2.properties in {folder}, got no "
            "pom.xml; leave the setting out to use the package's own files"
        )
        raise BrokerError(msg)
    return folder


def kafka_home(settings: BrokerSettings) -> Path:
    """Say where this version of Kafka is kept: jars below `lib`, class archives in the folder itself.

    Args:
        settings: Names the cache folder and the version.

    Returns:
        The folder; it may not exist yet.

    Raises:
        BrokerError: Java could not be given the folder as a class path.
    """
    cache = settings.cache_dir.expanduser().resolve()
    if ":" in str(cache):
        msg = f"broker.cache_dir: expected a folder without a colon, where Java splits its class path, got {cache}"
        raise BrokerError(msg)
    return cache / f"kafka-{settings.kafka_version}"


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
    told = _told_version(found)
    version = re.search(r'version "(\d+)(?:\.(\d+))?', told)
    if version is None:
        got = (told.strip().splitlines() or ["no answer"])[0]
        msg = f"expected Java {MIN_JAVA} or newer at {found}, which does not tell its version: {got}; set broker.java"
        raise BrokerError(msg)
    # Before Java 9 the number stood behind a 1: "1.8.0".
    number = int(version.group(2) or 1) if version.group(1) == "1" else int(version.group(1))
    if number < MIN_JAVA:
        msg = (
            f"expected Java {MIN_JAVA} or newer at {found}, got Java {number}, which is too old for Kafka "
            f"{settings.kafka_version}; install a newer JRE or set broker.java"
        )
        raise BrokerError(msg)
    return Path(found)


def _told_version(java: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.stderr + answer.stdout


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
    maven, pom = _find_maven(settings), kafka_files(settings) / "pom.xml"
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "fetch.lock"):
        if has_jars(settings):  # somebody fetched them while we waited
            return lib
        fetched = home / "lib.partial"
        shutil.rmtree(fetched, ignore_errors=True)
        # Maven reads a file, and the package may lie in an archive.
        (home / "pom.xml").write_bytes(pom.read_bytes())
        _fetch(settings, maven, home / "pom.xml", fetched)
        sizes = {jar.name: jar.stat().st_size for jar in sorted(fetched.glob("*.jar"))}
        (fetched / "jars.json").write_text(json.dumps(sizes, indent=1))
        shutil.rmtree(lib, ignore_errors=True)
        fetched.rename(lib)
    return lib


def _find_maven(settings: BrokerSettings) -> str:
    found = shutil.which(settings.maven)
    if found is None:
        msg = (
            f"Kafka's jars are not in {kafka_home(settings)} yet, and Maven, which fetches them, was not found as "
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
        told = answer.stdout + answer.stderr
        lines = [line for line in told.splitlines() if "ERROR" in line]
        reason = lines[0] if lines else f"exit status {answer.returncode}"
        if _NO_NETWORK.search(told):
            msg = (
                f"no network: Maven reaches no repository to fetch Kafka {settings.kafka_version} from ({reason}); "
                f"connect once, or copy {kafka_home(settings)} from a machine that has it"
            )
        else:
            msg = f"Maven could not fetch Kafka {settings.kafka_version}: {reason}; check Maven's settings and retry"
        raise BrokerError(msg)
