"""Settings of the local broker."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Inside the folder `data_dir`, unless `broker.data_dir` names another.
KAFKA_FOLDER = "kafka"
ONE_HEAP_MB, SEVERAL_HEAP_MB = 384, 160
# From here on a node's JVM is set up for load.
LOAD_HEAP_MB = 1_024


class BrokerSettings(BaseModel):
    """Which broker to start if no address of a Kafka is given, and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "kafka", "embedded"] = Field(
        default="auto", description="auto: Apache Kafka if Java and its jars are available, else the embedded broker."
    )
    name: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]{0,63}$",
        description="Name of the local broker to use from any folder, or of the one to start (`--broker NAME`). None: "
        "named after its folder.",
    )
    port: int = Field(default=9092, ge=0, le=65_535, description="Loopback port of the local Kafka; 0: any free one.")
    data_dir: Path = Field(
        default=Path("var") / KAFKA_FOLDER,
        description="Topic data, log file and pid file of the local Kafka. Unset: the folder kafka inside data_dir.",
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/sidestream"), description="Cache of Kafka's jars, shared by all checkouts."
    )
    kafka_version: str = Field(
        default="4.4.0", pattern=r"^4\.\d+\.\d+$", description="Apache Kafka version to download and run."
    )
    kafka_files: Path | None = Field(
        default=None, description="Folder with pom.xml, server.properties, log4j2.properties. None: the package's own."
    )
    java: str = Field(default="java", min_length=1, description="Java 17 or newer: a name on the PATH or a path.")
    maven: str = Field(default="mvn", min_length=1, description="Maven, needed once to download the jars.")
    brokers: int | None = Field(
        default=None,
        ge=1,
        le=9,
        description="Nodes of the local Kafka; with 3, every topic has three replicas, two of which must be in sync. "
        "None: as many as the data folder has, 1 for a new one.",
    )
    heap_mb: int | None = Field(
        default=None,
        ge=128,
        description="Maximum heap of each node in MiB. None: 384, of several nodes 160. From 1024 on, the JVM is set "
        "up for load instead of a fast start.",
    )
    fetch_timeout_s: float = Field(default=300.0, gt=0, description="Longest download of the jars.")
    start_timeout_s: float = Field(default=60.0, gt=0, description="Longest time from the start to the first answer.")
    stop_timeout_s: float = Field(default=15.0, gt=0, description="After this time, a stop turns into a kill.")

    def heap_of_node_mb(self, count: int) -> int:
        """Return the maximum heap, in MiB, of each of so many nodes."""
        return self.heap_mb or (ONE_HEAP_MB if count == 1 else SEVERAL_HEAP_MB)
