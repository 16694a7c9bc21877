"""The console producer of Apache Kafka, which is in a jar that a broker does not need: fetched by Maven once."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sidestream.streams.broker import BrokerSettings
from sidestream.streams.broker.jars import ensure_jars, find_java, kafka_files
from tests.bench.foreign.records import Record
from tests.bench.support.rig import ROOT

FOLDER = ROOT / "var" / "bench" / "console"
TOOLS = """    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>${kafka.version}</version>
    </dependency>
  </dependencies>"""
NULL = "<null>"
TIMEOUT_S = 120.0


def ensure_tools() -> Path:
    """Return the folder of the jars, after fetching them where needed.

    Raises:
        BrokerError: There is no Java, or Maven cannot fetch them.
    """
    pom, files = FOLDER / "files", kafka_files(BrokerSettings())
    pom.mkdir(parents=True, exist_ok=True)
    (pom / "pom.xml").write_text((files / "pom.xml").read_text().replace("  </dependencies>", TOOLS))
    settings = BrokerSettings(kafka_files=pom, cache_dir=FOLDER)
    find_java(settings)
    return ensure_jars(settings)


def send(jars: Path, bootstrap: str, topic: str, records: Sequence[Record], codec: str) -> None:
    """Send records without headers; keys and values are text of one line.

    Raises:
        RuntimeError: The producer did not send all.
    """
    java = shutil.which("java") or "java"
    command = [java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    command += ["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", bootstrap, "--topic", topic]
    command += ["--compression-codec", codec]
    for reading in ("parse.key=true", "key.separator=\t", f"null.marker={NULL}"):
        command += ["--reader-property", reading]
    lines = (f"{_text(record.key)}\t{_text(record.value)}\n" for record in records)
    answer = subprocess.run(
        command, input="".join(lines), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    # It ends with 0 also where a record was refused.
    if answer.returncode != 0 or "ERROR" in answer.stderr + answer.stdout:
        raise RuntimeError(f"the console producer ended with {answer.returncode}: {answer.stderr[-2_000:]}")


def _text(content: bytes | None) -> str:
    return NULL if content is None else content.decode()
