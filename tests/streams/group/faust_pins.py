"""Overridden or required internals of Faust, mode and aiokafka, with the digests of their tested sources.

A digest covers the source without blank lines and indentation, so it is the same on every Python.
"""

import hashlib
import importlib
import inspect
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """One function or class of a library; `role` says what it does for us, `users` which of our parts to check."""

    target: str
    digest: str
    role: str
    users: str


def digest_of(target: str) -> str:
    """Digest of the source of `module:Class.function`."""
    module, _, path = target.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    lines = textwrap.dedent(inspect.getsource(found)).splitlines()
    return hashlib.sha256("\n".join(line.rstrip() for line in lines if line.strip()).encode()).hexdigest()[:12]


PINS = (
    Pin(
        "faust.transport.drivers.aiokafka:ConsumerRebalanceListener",
        "73e499284871",
        "lane partitions are paused before Faust's own part of an assignment",
        "lane.transport._Listener",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer",
        "ddc57d7aa150",
        "sets fetch_max_wait_ms, isolation and the assignor; we change the fetch wait after it",
        "lane.transport._ConsumerThread",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer",
        "7ad1994abb32",
        "gives the aiokafka consumer of the thread",
        "lane.transport.committed, _Listener",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.call_thread",
        "dc64852a6820",
        "runs a coroutine on the consumer thread's loop",
        "lane.transport.committed",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.position",
        "c4327744d68d",
        "read position of Faust's own consumer",
        "worker.backlog",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit",
        "3659c476fd18",
        "sends the offsets that we add",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread",
        "c4a2821269c4",
        "makes the thread class that we replace",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:Producer._settings_extra",
        "ba7092064d8b",
        "empty unless exactly_once: we put idempotence there",
        "lane.transport._Producer",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:Producer._new_producer",
        "fa9dd64f1930",
        "merges _settings_extra into the producer's settings",
        "lane.transport._Producer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.on_partitions_assigned",
        "4372ddef3adb",
        "lanes are notified after it",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.on_partitions_revoked",
        "bee0e9c2c08f",
        "lanes stop and commit before it",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.on_stop",
        "7aaae78b4bf2",
        "commits last: lanes must have stopped before it",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.commit",
        "24f7344b13c0",
        "takes what _filter_committable_offsets gives",
        "lane.transport._Consumer.on_partitions_revoked",
    ),
    Pin(
        "faust.transport.consumer:Consumer._commit_tps",
        "097d073ca822",
        "flushes the producer, then commits",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer._filter_committable_offsets",
        "3df385bdd0a4",
        "we add the lanes' offsets to its answer",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer._should_commit",
        "f364ecf8620d",
        "compares with what is committed already",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.getmany",
        "235d66a223f2",
        "calls _getmany and fills the streams",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer._drain_messages",
        "fc0f1b9abdb1",
        "hands over each message together with the suspension of the flow, and ignores what wait_first returns",
        "lane.transport._Consumer.wait_first",
    ),
    Pin(
        "mode.services:Service.wait_first",
        "f801bc9f49cd",
        "four tasks for each message; we take the first step of handing it over ourselves",
        "lane.transport._Consumer.wait_first",
    ),
    Pin(
        "faust.transport.consumer:ThreadDelegateConsumer._getmany",
        "30984c83c56d",
        "we drop stray lane records from its answer",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.consumer:Consumer.verify_event_path",
        "b30080d5b22f",
        "complains about partitions that Faust does not read",
        "lane.transport._Consumer",
    ),
    Pin(
        "faust.transport.base:Transport",
        "b9e2151c77bb",
        "app.transport and producer_transport may be set to a subclass",
        "lane.transport.LaneTransport",
    ),
    Pin(
        "faust.app.base:BootStrategy.server",
        "caaff953d377",
        "order of services: ours start before Faust's",
        "worker.build._Boot",
    ),
    Pin(
        "faust.app.base:App.on_stop",
        "a580f667fb77",
        "stops consumer, flushes producer: must not wait for streams",
        "lane.faust_app",
    ),
    Pin(
        "faust.app.base:App._stop_consumer",
        "d5ad74f5ac05",
        "stops the flow with stream_wait_empty=False",
        "lane.faust_app",
    ),
    Pin(
        "faust.app.base:App._on_partitions_assigned",
        "2ac2e1e072e5",
        "sends on_partitions_assigned when the assignment is in force",
        "worker.group",
    ),
    Pin(
        "faust.app.base:App._on_partitions_revoked",
        "f3146e33bc4a",
        "sends on_partitions_revoked before the group goes on",
        "worker.group",
    ),
    Pin(
        "faust.assignor.partition_assignor:PartitionAssignor._get_copartitioned_groups",
        "97c42f6642f7",
        "topics of one partition count go to one worker: listens and sessions must meet",
        "lane.transport.register",
    ),
    Pin(
        "faust.worker:Worker.on_first_start",
        "77990ca61a12",
        "changes folder, installs signals, sets up logging unless disabled",
        "worker.run._Worker",
    ),
    Pin(
        "mode.worker:Worker.execute_from_commandline",
        "2e369b5d6fd4",
        "raises SystemExit with the exit code",
        "worker.run.run",
    ),
    Pin("mode.worker:Worker._shutdown_loop", "08171fc70dc1", "raises the crash reason again", "worker.run.run"),
    Pin(
        "mode.worker:Worker._install_signal_handlers_unix",
        "625591810d75",
        "SIGTERM and SIGINT stop the worker through the loop",
        "worker.run.run",
    ),
    Pin(
        "mode.services:Service.crash",
        "c3fa5781a2be",
        "marks all services as crashed and keeps the reason",
        "worker.run.run, worker.watchdog",
    ),
    Pin(
        "mode.services:Service.stop",
        "2640f0db32a3",
        "sets should_stop first: the watchdog counts the shutdown from there",
        "worker.watchdog",
    ),
    Pin("mode.services:Service.should_stop", "25a32eca61bf", "true after a stop and after a crash", "worker.watchdog"),
    Pin(
        "aiokafka:AIOKafkaConsumer.start",
        "509f7b941208",
        "hands _fetch_max_wait_ms to the fetcher only now",
        "lane.transport._ConsumerThread",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.pause",
        "b74121ba8126",
        "pauses a partition before the first fetch",
        "lane.transport._Listener",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.committed",
        "366d0c87dd0d",
        "asks the coordinator, not a cache",
        "lane.transport.committed",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.position",
        "1de64725ce0f",
        "next offset to fetch; passes over control records",
        "kafka.follower, lane.listens, worker.backlog",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.seek",
        "7c509505f0d2",
        "drops what was prefetched from elsewhere",
        "kafka.follower, lane.positions",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.assign",
        "9dcbc44691cb",
        "forgets the positions of all partitions, and may create topics that are not there",
        "kafka.follower",
    ),
    Pin(
        "aiokafka.client:AIOKafkaClient.fetch_all_metadata",
        "38a2a95f5e40",
        "names all topics without creating one",
        "kafka.follower",
    ),
    Pin(
        "aiokafka.consumer.fetcher:FetchResult.getall",
        "dab3256df06c",
        "where unpacking raises, records that were unpacked before are lost unless the position is sought again",
        "kafka.follower",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.end_offsets",
        "73c5f82d81eb",
        "honours read_committed (last stable offset)",
        "kafka.follower, worker.backlog",
    ),
    Pin(
        "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user",
        "56aab1a87cc6",
        "stores why the group cannot be joined, until it is read",
        "group.group_client",
    ),
    Pin(
        "faust.assignor.partition_assignor:PartitionAssignor.name",
        "c9690b8f47c9",
        "names the protocol of the group; a group of workers with transactions keeps it",
        "lane.group.promise",
    ),
    Pin(
        "aiokafka:AIOKafkaConsumer.getmany",
        "5c1c34584cda",
        "returns after the timeout with or without records",
        "lane.listens, kafka.follower, sessions.lane",
    ),
    Pin(
        # Under the name that is never replaced.
        "sidestream.streams.kafka.records.aiokafka_records:PartitionRecords",
        "fa7164959baf",
        "control and aborted records move the position unseen; what it raises for the bytes of a batch is rescued",
        "kafka.follower, kafka.records.aiokafka_records",
    ),
    Pin(
        "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request",
        "126021259bad",
        "makes MemoryRecords and PartitionRecords by the names of its module, which we replace",
        "kafka.records.aiokafka_records",
    ),
    Pin(
        "kafka.consumer.fetcher:Fetcher.PartitionRecords",
        "a61324721db5",
        "unpacks the batches in _unpack_records, which we continue after an error",
        "kafka.records.kafka_python_records",
    ),
    Pin(
        "kafka.consumer.fetcher:Fetcher._parse_fetched_data",
        "50ea3481243c",
        "makes PartitionRecords by the name of its instance, which we replace",
        "kafka.records.kafka_python_records",
    ),
    Pin(
        "aiokafka:AIOKafkaProducer.send_batch",
        "e6f3210633e6",
        "its future gives the base offset of the batch",
        "lane.writer",
    ),
    Pin(
        "aiokafka:AIOKafkaProducer.create_batch",
        "ceaab5fe0465",
        "gives a builder whose append is None when full",
        "lane.writer",
    ),
    Pin(
        "aiokafka.producer.message_accumulator:BatchBuilder",
        "c1475679c7d6",
        "append gives None when full, record_count counts",
        "lane.writer",
    ),
    Pin("aiokafka:AIOKafkaProducer.begin_transaction", "3ea2089fcf4b", "one transaction at a time", "lane.writer"),
    Pin(
        "aiokafka:AIOKafkaProducer.send_offsets_to_transaction",
        "3f11e179d8cd",
        "source offsets join the transaction under the group's name alone",
        "lane.writer",
    ),
    Pin(
        "aiokafka:AIOKafkaProducer.commit_transaction",
        "31160613c62a",
        "returns after the commit is acknowledged",
        "lane.writer",
    ),
    Pin(
        "aiokafka.producer.transaction_manager:TransactionManager",
        "a123e58f346d",
        "states of a transaction, fatal and abortable errors",
        "lane.writer",
    ),
    Pin(
        "aiokafka.producer.sender:Sender._sender_routine",
        "5aae7dd8a0f3",
        "any unexpected error ends the sender, and with it the producer",
        "lane.writer",
    ),
    Pin(
        "aiokafka.producer.sender:Sender._fail_all",
        "d88a781c34cc",
        "fails what is queued when the sender ends, not what waits elsewhere",
        "kafka.producing",
    ),
    Pin(
        "aiokafka:AIOKafkaProducer.stop",
        "ae0fdb02df34",
        "waits for ever for a broker that is away, and leaves its sender when it is cancelled",
        "kafka.producing",
    ),
    Pin(
        "aiokafka.client:AIOKafkaClient._md_synchronizer",
        "a2801ca20dba",
        "the task that keeps the metadata; nothing restarts it",
        "kafka.producing, kafka.lasting.follower",
    ),
    Pin(
        "aiokafka.consumer.fetcher:Fetcher._fetch_requests_routine",
        "5c18ebcf4dfa",
        "the task that fetches; getmany does not notice its end",
        "kafka.lasting.follower",
    ),
    Pin(
        "aiokafka.consumer.group_coordinator:GroupCoordinator.check_errors",
        "0fe4e843462c",
        "takes the stored error, after which joining goes on",
        "group.group_client",
    ),
    Pin(
        "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req",
        "5a71e1ccc44b",
        "every request of a member goes through it",
        "group.group_client",
    ),
    Pin(
        "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat",
        "8007a51e0abe",
        "a member that is unknown joins again",
        "group.group_client",
    ),
    Pin(
        "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group",
        "7ae174a066d7",
        "static members do not leave",
        "group.group_client",
    ),
    Pin(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start",
        "1e2e890ab3b5",
        "starts the consumer on the thread's loop",
        "group.transport._ConsumerThread",
    ),
)
