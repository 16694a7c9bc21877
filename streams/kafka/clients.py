"""Factory of all Kafka clients: every consumer, producer and admin client of Sidestream is created here.

Why one place: three client libraries (aiokafka in the lanes, kafka-python in commands and the user client, Faust for
group membership) must agree on address, security, idempotence, partitioner and isolation level, and the embedded
broker needs workarounds that are kept here:

* it answers ApiVersions only up to 2, so kafka-python gets an explicit version (auto-detection fails);
* its Fetch does not return early on new data, so latency equals the fetch wait, which is kept small;
* it does not support CreateTopics, so Faust must not declare topics.

`sidestream.streams.kafka.security` gives the same security settings (TLS, SASL) to all of them, and with
`sidestream.streams.kafka.records` all consumers go on behind records that the libraries cannot read. Producers use the
murmur2 partitioner, which Java, aiokafka and kafka-python share (librdkafka's default does not), unless the caller asks
for that of `topics.partitioner`.

Source: KIP-98 (idempotence, isolation levels), KIP-392 (racks); librdkafka `src/rdkafka_mock.c` (embedded broker).
"""

from typing import TYPE_CHECKING, Any, Literal

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from sidestream.streams.contracts.client_partitioners import aiokafka_option, kafka_python_option
from sidestream.streams.contracts.settings import DEFAULT_PARTITIONER, PartitionerName
from sidestream.streams.errors import AccessError, BrokerError, SettingsError
from sidestream.streams.kafka.outages import Outages
from sidestream.streams.kafka.records import kafka_python_records
from sidestream.streams.kafka.records.codecs import require_codecs
from sidestream.streams.kafka.security import Credentials
from sidestream.streams.kafka.settings import BrokerKind, KafkaSettings

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.client import AIOKafkaClient

__all__ = ["BrokerKind", "Clients", "KafkaSettings", "OffsetReset"]

OffsetReset = Literal["earliest", "latest", "none"]

# kafka-python must treat the embedded broker as Kafka 2.0: with (2, 5) it reads nothing.
EMBEDDED_API_VERSION = (2, 0)
EMBEDDED_FETCH_WAIT_MS = 10
# Fits a dead letter: the largest record that brokers accept by default, 1 MiB, plus our headers.
MAX_REQUEST_BYTES = 1_310_720
# The open transaction of a dead process blocks read_committed readers for at most this long.
TRANSACTION_TIMEOUT_MS = 10_000
# TLS and SCRAM take 40 ms, 80 on busy cores (median of 15), a refusal 400; a broker under load may take seconds.
LOGIN_TIMEOUT_S = 10.0
# aiokafka's sleep when a transaction begins before the markers of the last one are written; its default is 20 ms.
TRANSACTION_BACKOFF_S = 0.002


class Clients:
    """Creates clients of one Kafka cluster; the caller starts, stops and closes them.

    Args:
        settings: Address, security and timeouts.

    Attributes:
        outages: What of this process waits for Kafka.

    Raises:
        SettingsError: No address is set, or a certificate or key cannot be used.
        MissingPackage: The package of a codec is not installed.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        if not settings.bootstrap:
            msg = "no Kafka address: expected kafka.bootstrap = host:port, got none; set it or start a local broker"
            raise SettingsError(msg)
        require_codecs()
        self.settings = settings
        self.bootstrap = settings.bootstrap
        self.outages = Outages()
        self._credentials = Credentials(settings.security)
        self._was_let_in = settings.security.protocol == "PLAINTEXT"

    @property
    def is_embedded(self) -> bool:
        """Whether this is the in-process librdkafka broker: no compaction, no isolation, no topic creation."""
        return self.settings.kind == "embedded"

    @property
    def fetch_max_wait_ms(self) -> int:
        """Fetch wait for this kind of broker; Faust's own consumer must use it too."""
        wait_ms = self.settings.fetch_max_wait_ms
        return min(wait_ms, EMBEDDED_FETCH_WAIT_MS) if self.is_embedded else wait_ms

    def async_consumer(
        self,
        *topics: str,
        group_id: str | None = None,
        auto_offset_reset: OffsetReset = "earliest",
        read_committed: bool = True,
        fetch_max_bytes: int = 52_428_800,
        max_partition_fetch_bytes: int = 1_048_576,
        max_poll_records: int | None = None,
        fetch_min_bytes: int = 1,
        fetch_max_wait_ms: int | None = None,
    ) -> "AIOKafkaConsumer":
        """Create an aiokafka consumer without auto-commit.

        Args:
            *topics: Topics to subscribe to; empty if the caller assigns partitions.
            group_id: Consumer group; None to read without a group.
            auto_offset_reset: First position without a committed offset.
            read_committed: Hide records of open and aborted transactions.
            fetch_max_bytes: Limit of one fetch response.
            max_partition_fetch_bytes: Limit of one partition in one fetch response.
            max_poll_records: Limit of one `getmany`; None for all fetched records.
            fetch_min_bytes: The broker holds a fetch until this much is available, or the fetch wait is over.
            fetch_max_wait_ms: Fetch wait; None for the default of this kind of broker.

        Returns:
            The consumer, not started. Must be called inside a running event loop.
        """
        from aiokafka import AIOKafkaConsumer  # imported only by the lanes: commands do not need it

        from sidestream.streams.kafka.records.mended import mend_aiokafka

        mend_aiokafka()
        return AIOKafkaConsumer(
            *topics,
            **self._aiokafka(),
            group_id=group_id,
            auto_offset_reset=auto_offset_reset,
            enable_auto_commit=False,
            isolation_level="read_committed" if read_committed else "read_uncommitted",
            client_rack=self.settings.client_rack,
            fetch_min_bytes=fetch_min_bytes,
            fetch_max_wait_ms=self.fetch_max_wait_ms if fetch_max_wait_ms is None else fetch_max_wait_ms,
            fetch_max_bytes=fetch_max_bytes,
            max_partition_fetch_bytes=max_partition_fetch_bytes,
            max_poll_records=max_poll_records,
            session_timeout_ms=self.settings.session_timeout_ms,
            heartbeat_interval_ms=self.settings.heartbeat_interval_ms,
        )

    def async_producer(
        self,
        *,
        linger_ms: int = 0,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        max_batch_bytes: int = 16_384,
        retry_backoff_ms: int = 100,
        partitioner: PartitionerName = DEFAULT_PARTITIONER,
    ) -> "AIOKafkaProducer":
        """Create an idempotent aiokafka producer (acks=all).

        Args:
            linger_ms: How long a record waits for more records of its batch; 0 for the lowest latency.
            transactional_id: Makes the producer transactional; fences older producers with the same id.
            transaction_timeout_ms: The broker aborts a transaction that is open for longer.
            max_request_bytes: Limit of one produce request.
            max_batch_bytes: Size at which a batch of one partition is full.
            retry_backoff_ms: Wait before a request is retried; keep it short for back-to-back transactions.
            partitioner: Hash of the keys of records that are sent without a partition.

        Returns:
            The producer, not started. Must be called inside a running event loop.
        """
        from aiokafka import AIOKafkaProducer
        from aiokafka.producer import sender as aiokafka_sender

        if transactional_id is not None:
            aiokafka_sender.BACKOFF_OVERRIDE = TRANSACTION_BACKOFF_S  # a module constant: there is no argument for it
        return AIOKafkaProducer(
            **self._aiokafka(),
            acks="all",
            enable_idempotence=True,
            linger_ms=linger_ms,
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
            max_request_size=max_request_bytes,
            max_batch_size=max_batch_bytes,
            retry_backoff_ms=retry_backoff_ms,
            **aiokafka_option(partitioner),
        )

    def consumer(
        self,
        *topics: str,
        group_id: str | None = None,
        auto_offset_reset: OffsetReset = "earliest",
        auto_commit: bool = False,
        read_committed: bool = True,
        max_poll_records: int = 500,
    ) -> KafkaConsumer:
        """Create a kafka-python consumer, for commands, tests and the user client.

        Args:
            *topics: Topics to subscribe to; empty if the caller assigns partitions.
            group_id: Consumer group; None to read without a group.
            auto_offset_reset: First position without a committed offset.
            auto_commit: Commit the read position in the background (needs a group).
            read_committed: Hide records of open and aborted transactions.
            max_poll_records: Limit of one poll.

        Returns:
            The consumer; it connects on first use.
        """
        consumer = KafkaConsumer(
            *topics,
            **self._kafka_python(),
            group_id=group_id,
            auto_offset_reset=auto_offset_reset,
            enable_auto_commit=auto_commit and group_id is not None,
            isolation_level="read_committed" if read_committed else "read_uncommitted",
            client_rack=self.settings.client_rack or "",
            fetch_max_wait_ms=self.fetch_max_wait_ms,
            max_poll_records=max_poll_records,
            session_timeout_ms=self.settings.session_timeout_ms,
            heartbeat_interval_ms=self.settings.heartbeat_interval_ms,
        )
        return kafka_python_records.make_tolerant(consumer)

    def producer(
        self,
        *,
        linger_ms: int = 0,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        partitioner: PartitionerName = DEFAULT_PARTITIONER,
    ) -> KafkaProducer:
        """Create an idempotent kafka-python producer (acks=all).

        Args:
            linger_ms: How long a record waits for more records of its batch; 5 to 20 for bulk.
            max_request_bytes: Limit of one produce request.
            partitioner: Hash of the keys of records that are sent without a partition.

        Returns:
            The producer.
        """
        return KafkaProducer(
            **self._kafka_python(),
            acks="all",
            enable_idempotence=True,
            linger_ms=linger_ms,
            max_request_size=max_request_bytes,
            **kafka_python_option(partitioner),
        )

    def admin(self) -> KafkaAdminClient:
        """Create a kafka-python admin client; on the embedded broker it can list topics but not create them."""
        return KafkaAdminClient(**self._kafka_python())

    def faust_options(self) -> dict[str, Any]:
        """Keyword arguments of `faust.App` for this Kafka cluster.

        Returns:
            Broker address, group timings, and that Faust never declares topics: `topics create` creates them.
        """
        return {
            "broker": [f"kafka://{address.strip()}" for address in self.bootstrap.split(",")],
            "broker_client_id": self.settings.client_id,
            "broker_request_timeout": self.settings.request_timeout_ms / 1000,
            "broker_session_timeout": self.settings.session_timeout_ms / 1000,
            "broker_heartbeat_interval": self.settings.heartbeat_interval_ms / 1000,
            "consumer_auto_offset_reset": "earliest",
            "producer_acks": -1,
            "topic_allow_declare": False,
            "topic_disable_leader": True,
            **self._credentials.faust(),
        }

    async def log_in(self, timeout_s: float = LOGIN_TIMEOUT_S) -> None:
        """Check that the broker answers and accepts our credentials.

        Args:
            timeout_s: Timeout for one address.

        Raises:
            AccessError: The broker rejects our credentials, or its certificate is not trusted.
            BrokerError: No broker answers.
        """
        from sidestream.streams.kafka.security import log_in  # aiokafka: only if there is something to log in to

        await log_in(self.bootstrap, self._credentials, timeout_s)
        self._was_let_in = True

    def async_client(self) -> "AIOKafkaClient":
        """Create a bare aiokafka client, for requests that consumers and producers do not send; not connected yet."""
        from aiokafka.client import AIOKafkaClient

        return AIOKafkaClient(**self._aiokafka())

    def _require_access(self) -> None:
        """Log in once beforehand: kafka-python retries a rejected login for 30 s and then reports a timeout."""
        if self._was_let_in:
            return
        from sidestream.streams.kafka.security import wait_for_login

        try:
            wait_for_login(self.log_in())
        except AccessError:
            raise
        except BrokerError:
            pass  # unreachable, not rejected: the client itself waits for the broker

    def _aiokafka(self) -> dict[str, Any]:
        return {
            **self._credentials.aiokafka(),
            "bootstrap_servers": self.bootstrap,
            "client_id": self.settings.client_id,
            "request_timeout_ms": self.settings.request_timeout_ms,
        }

    def _kafka_python(self) -> dict[str, Any]:
        self._require_access()
        return {
            **self._credentials.kafka_python(),
            "bootstrap_servers": self.bootstrap.split(","),
            "client_id": self.settings.client_id,
            "request_timeout_ms": self.settings.request_timeout_ms,
            "api_version": EMBEDDED_API_VERSION if self.is_embedded else None,
        }
