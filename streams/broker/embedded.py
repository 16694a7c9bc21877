"""The embedded broker: librdkafka's mock cluster, shipped in the confluent-kafka wheel, inside our own process.

For the demo and quick tests on machines without Java. Other processes can connect over TCP, but topics can only be
created through this object, and everything is lost when the process ends. It keeps at most 5 MiB or 100,000 message
sets per partition, does not compact and does not isolate transactions: it proves neither durability nor exactly-once.

Source: librdkafka `src/rdkafka_mock.h` (experimental interface).
"""

import ctypes
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from sidestream.streams.contracts.topics import TopicSpec, TopicState
from sidestream.streams.errors import BrokerError, TopicError

RD_KAFKA_PRODUCER = 0
TOPIC_ALREADY_EXISTS = 36
CONF_OK = 0


def has_library() -> bool:
    """Whether the confluent-kafka wheel, which contains the broker, is installed."""
    return importlib.util.find_spec("confluent_kafka") is not None


class EmbeddedBroker:
    """A broker with the lifetime of this object; also the `TopicAdmin` of its topics.

    Raises:
        BrokerError: The library is missing or does not start.
    """

    def __init__(self) -> None:
        self._topics: dict[str, TopicState] = {}
        self._library = _load_library()
        conf = self._library.rd_kafka_conf_new()
        # Otherwise librdkafka warns on standard error that it has no address to connect to.
        _set_conf(self._library, conf, b"log_level", b"0")
        error = ctypes.create_string_buffer(512)
        self._handle = self._library.rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, len(error))
        if not self._handle:
            msg = f"librdkafka did not start: {error.value.decode(errors='replace')}; reinstall confluent-kafka"
            raise BrokerError(msg)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            msg = "librdkafka could not start its embedded broker; check that loopback ports can be opened"
            raise BrokerError(msg)
        # Groups form at once; the default delays the first member of each by 3 s.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Look up those of the named topics that were created here."""
        return {name: self._topics[name] for name in names if name in self._topics}

    def create(self, specs: Sequence[TopicSpec], replication_factor: int = -1) -> None:
        """Create topics; policies are ignored, because the broker has none.

        Args:
            specs: Topics to create.
            replication_factor: Ignored, because there is one broker.

        Raises:
            TopicError: The broker refused, or a client's request created the topic earlier with another count.
        """
        del replication_factor
        for spec in specs:
            code = self._library.rd_kafka_mock_topic_create(self._cluster, spec.name.encode(), spec.partitions, 1)
            if code == TOPIC_ALREADY_EXISTS:
                msg = (
                    f"{spec.name}: a client requested this topic from the embedded broker before it was created, so "
                    "its partition count differs from ours; create topics before clients start"
                )
                raise TopicError(msg)
            if code != 0:
                msg = f"{spec.name}: the embedded broker refused {spec.partitions} partitions (error {code})"
                raise TopicError(msg)
            self._topics[spec.name] = TopicState(spec.partitions, None)

    def close(self) -> None:
        """Do nothing: the broker outlives its use as an admin; see `stop`."""

    def stop(self) -> None:
        """Stop the broker and lose its topics; further calls do nothing."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._handle)
            self._cluster = self._handle = None


def _load_library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        msg = "the embedded broker needs confluent-kafka, not installed here; run pip install 'sidestream[embedded]'"
        raise BrokerError(msg)
    package = Path(spec.origin).parent
    # Linux wheels have their libraries next to the package, macOS wheels inside it.
    candidates = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    libraries = [path for path in candidates if "++" not in path.name]
    if not libraries:
        msg = f"expected librdkafka with {package}, got none; install the confluent-kafka wheel, not a source build"
        raise BrokerError(msg)
    library = ctypes.CDLL(str(libraries[0]))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _set_conf(library: ctypes.CDLL, conf: int, name: bytes, value: bytes) -> None:
    error = ctypes.create_string_buffer(512)
    if library.rd_kafka_conf_set(conf, name, value, error, len(error)) != CONF_OK:
        msg = f"librdkafka refused {name.decode()}: {error.value.decode(errors='replace')}"
        raise BrokerError(msg)
