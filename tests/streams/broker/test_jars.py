"""Java and the jars: downloaded once, completely or not at all; anything missing is reported with a remedy."""

import re
import threading
from pathlib import Path

import pytest

from sidestream.streams.broker.jars import (
    class_archive,
    ensure_jars,
    find_java,
    has_jars,
    kafka_files,
    kafka_home,
    require_kafka,
)
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError

GOOD_MAVEN = """
for argument in "$@"; do
  case "$argument" in -DoutputDirectory=*) target="${argument#*=}";; esac
done
echo run >> "$(dirname "$0")/runs"
mkdir -p "$target" && echo jar > "$target/kafka_2.13-4.4.0.jar" && echo jar > "$target/slf4j.jar"
"""
FAILING_MAVEN = "echo '[ERROR] cannot resolve org.apache.kafka' && exit 1"


def program(tmp_path: Path, name: str, body: str) -> str:
    path = tmp_path / name
    path.write_text("#!/bin/sh\n" + body + "\n")
    path.chmod(0o755)
    return str(path)


def settings_for(tmp_path: Path, *, java: str = 'openjdk version "21.0.1"', maven: str = GOOD_MAVEN) -> BrokerSettings:
    return BrokerSettings(
        cache_dir=tmp_path / "cache",
        java=program(tmp_path, "java", f"echo '{java}' >&2"),
        maven=program(tmp_path, "mvn", maven),
    )


def test_concurrent_ensure_jars_download_once(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert not has_jars(settings)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_jars(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {kafka_home(settings) / "lib"}
    assert has_jars(settings)
    assert (tmp_path / "runs").read_text().count("run") == 1
    # Maven is not needed any more.
    ensure_jars(settings.model_copy(update={"maven": "no-such-maven"}))


def test_ensure_jars_downloads_damaged_jars_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    jar = ensure_jars(settings) / "slf4j.jar"
    jar.write_text("")
    assert not has_jars(settings)
    ensure_jars(settings)
    assert jar.read_text() == "jar\n"


def test_ensure_jars_leaves_nothing_after_a_failed_download(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, maven=FAILING_MAVEN)
    with pytest.raises(BrokerError, match=r"cannot resolve org\.apache\.kafka"):
        ensure_jars(settings)
    assert not has_jars(settings)
    assert not (kafka_home(settings) / "lib").exists()


def test_ensure_jars_refuses_a_download_without_kafka(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="could not download Kafka"):
        ensure_jars(settings_for(tmp_path, maven="exit 0"))


def test_require_kafka_names_what_is_missing(tmp_path: Path) -> None:
    good = settings_for(tmp_path)
    require_kafka(good)
    for change, words in (
        ({"java": "no-such-java"}, "Java 17 or newer.*no-such-java.*install"),
        ({"maven": "no-such-maven"}, "Maven.*no-such-maven.*broker.kind = embedded"),
        ({"kafka_files": tmp_path / "nowhere"}, r"broker\.kafka_files.*pom\.xml"),
    ):
        with pytest.raises(BrokerError) as caught:
            require_kafka(good.model_copy(update=change))
        assert re.search(words, str(caught.value))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ('java version "1.8.0_362"', "got Java 8, which is too old"),
        ('openjdk version "11.0.2"', "got Java 11, which is too old"),
        ("no java at all", "does not print its version: no java at all"),
        ("", "does not print its version: no answer"),
    ],
)
def test_find_java_refuses_old_ones(tmp_path: Path, version: str, words: str) -> None:
    with pytest.raises(BrokerError, match=f"expected Java 17 or newer.*{words}"):
        find_java(settings_for(tmp_path, java=version))


def test_a_java_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "java"
    broken.write_bytes(b"\x7fELF, but no more than that")
    broken.chmod(0o755)
    with pytest.raises(BrokerError, match="does not print its version"):
        find_java(BrokerSettings(java=str(broken)))


def test_a_download_without_network_is_reported(tmp_path: Path) -> None:
    offline = "echo '[ERROR] Could not transfer artifact: repository: Temporary failure in name resolution' && exit 1"
    with pytest.raises(BrokerError, match=r"no network: Maven cannot reach a repository.*kafka-4\.4\.0"):
        ensure_jars(settings_for(tmp_path, maven=offline))


def test_kafkas_files_are_in_the_package() -> None:
    names = {file.name for file in kafka_files(BrokerSettings()).iterdir()}
    assert names >= {"pom.xml", "server.properties", "log4j2.properties"}


def test_class_archive_is_specific_to_java_and_kafka(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    other = Path(program(tmp_path, "java2", "exit 0"))
    names = {
        class_archive(settings, find_java(settings)),
        class_archive(settings, other),
        class_archive(settings.model_copy(update={"kafka_version": "4.3.0"}), other),
    }
    assert len(names) == 3
