"""Java and the jars of Apache Kafka: found, or downloaded once into a cache that all checkouts share.

Maven downloads the jars (45 files, 45 MB) with the `pom.xml` of this package. They are written to a separate folder
under a lock and renamed into place: concurrent commands download once, and a failed download leaves nothing behind.
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
# Maven's messages when it cannot reach a repository.
_NO_NETWORK = re.compile(
    r"unknown host|unresolved|name resolution|unreachable|connection (refused|reset|timed out)|connect timed out", re.I
)


def own_files() -> Traversable:
    """Return the folder of Kafka's files in this package."""
    return files(__package__ or "") / "kafka"


def kafka_files(settings: BrokerSettings) -> Traversable:
    """Find Kafka's pom, properties and log configuration.

    Args:
        settings: May name a folder other than the package's own.

    Returns:
        The folder.

    Raises:
        BrokerError: The named folder has no pom.
    """
    if settings.kafka_files is None:
        return own_files()
    folder = settings.kafka_files.expanduser().resolve()
    if not (folder / "pom.xml").is_file():
        msg = (
            f"broker.kafka_files: expected pom.xml, server.properties and log4j2.properties in {folder}, got no "
            "pom.xml; omit the setting to use the package's own files"
        )
        raise BrokerError(msg)
    return folder


def kafka_home(settings: BrokerSettings) -> Path:
    """Return the cache folder of this Kafka version: jars in `lib`, class archives in the folder itself.

    Args:
        settings: Cache folder and version.

    Returns:
        The folder; it may not exist yet.

    Raises:
        BrokerError: The folder cannot be part of a Java class path.
    """
    cache = settings.cache_dir.expanduser().resolve()
    if ":" in str(cache):
        msg = f"broker.cache_dir: expected a path without a colon, at which Java splits its class path, got {cache}"
        raise BrokerError(msg)
    return cache / f"kafka-{settings.kafka_version}"


def find_java(settings: BrokerSettings) -> Path:
    """Find a Java that can run Kafka 4.

    Args:
        settings: Name or path of the executable.

    Returns:
        Path of the executable.

    Raises:
        BrokerError: There is none, or it is too old.
    """
    found = shutil.which(settings.java)
    if found is None:
        msg = f"expected Java {MIN_JAVA} or newer as {settings.java!r}, got none; install a JRE or set broker.java"
        raise BrokerError(msg)
    output = _version_output(found)
    version = re.search(r'version "(\d+)(?:\.(\d+))?', output)
    if version is None:
        got = (output.strip().splitlines() or ["no answer"])[0]
        msg = f"expected Java {MIN_JAVA} or newer at {found}, which does not print its version: {got}; set broker.java"
        raise BrokerError(msg)
    # Before Java 9 the number came after a 1: "1.8.0".
    number = int(version.group(2) or 1) if version.group(1) == "1" else int(version.group(1))
    if number < MIN_JAVA:
        msg = (
            f"expected Java {MIN_JAVA} or newer at {found}, got Java {number}, which is too old for Kafka "
            f"{settings.kafka_version}; install a newer JRE or set broker.java"
        )
        raise BrokerError(msg)
    return Path(found)


def _version_output(java: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.stderr + answer.stdout


def class_archive(settings: BrokerSettings, java: Path) -> Path:
    """Return the AppCDS archive of one Java and one Kafka; it halves the start (2.0 to 1.0 s), for this JVM only."""
    real = java.resolve()
    identity = f"{real}:{real.stat().st_mtime_ns}:{settings.kafka_version}"
    return kafka_home(settings) / f"kafka-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsa"


def has_jars(settings: BrokerSettings) -> bool:
    """Whether the cache contains every jar with the size that it had after the download."""
    home = kafka_home(settings)
    try:
        sizes = json.loads((home / "lib" / "jars.json").read_text())
        return all((home / "lib" / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def require_kafka(settings: BrokerSettings) -> None:
    """Check that a local Kafka can be started, without downloading anything.

    Args:
        settings: Java, Maven, cache.

    Raises:
        BrokerError: Something is missing; the message says what, and how to get it.
    """
    find_java(settings)
    if not has_jars(settings):
        _find_maven(settings)
        kafka_files(settings)


def ensure_jars(settings: BrokerSettings) -> Path:
    """Download Kafka's jars to the cache if they are missing; safe to call from several processes at once.

    Args:
        settings: Version, cache and Maven.

    Returns:
        The folder of the jars.

    Raises:
        BrokerError: They are not cached, and Maven is missing or failed.
    """
    home = kafka_home(settings)
    lib = home / "lib"
    if has_jars(settings):
        return lib
    maven, pom = _find_maven(settings), kafka_files(settings) / "pom.xml"
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "fetch.lock"):
        if has_jars(settings):  # another process downloaded them in the meantime
            return lib
        fetched = home / "lib.partial"
        shutil.rmtree(fetched, ignore_errors=True)
        # Maven needs a file, and the package may be inside an archive.
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
            f"Kafka's jars are not in {kafka_home(settings)} yet, and Maven, which downloads them, was not found as "
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
        msg = f"downloading Kafka's jars took longer than {settings.fetch_timeout_s:.0f} s; check the network and retry"
        raise BrokerError(msg) from error
    if answer.returncode != 0 or not any(target.glob("kafka_2.13-*.jar")):
        output = answer.stdout + answer.stderr
        lines = [line for line in output.splitlines() if "ERROR" in line]
        reason = lines[0] if lines else f"exit status {answer.returncode}"
        if _NO_NETWORK.search(output):
            msg = (
                f"no network: Maven cannot reach a repository to download Kafka {settings.kafka_version} ({reason}); "
                f"connect once, or copy {kafka_home(settings)} from a machine that has it"
            )
        else:
            msg = f"Maven could not download Kafka {settings.kafka_version}: {reason}; check Maven's settings and retry"
        raise BrokerError(msg)
