"""Listens of producers that are not ours, each codec and each mistake: every record is folded, refused or hidden.

A whole worker with a constant for its model reads what librdkafka, kafkajs, Java's console producer, the Python clients
and the product's own client send, once for each partitioner that the worker may be told of, and on topics that force a
codec of their own. A record that is in its user's partition by the worker's partitioner is folded, and the state is
compared with the pure fold; one that is not, or is wrong, is a dead letter with place and reason; one of a transaction
that was not committed has no effect.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass

import confluent_kafka
from kafka import TopicPartition

from sidestream.streams.broker import BrokerSettings
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.kafka.tail import read_topic
from tests.bench.fleet.installation import Installation, Worker
from tests.bench.foreign.judge import Judge, Log, Verdict, letters_of, read_log
from tests.bench.foreign.kafkajs import SENDER
from tests.bench.foreign.producers import CODECS, Producers
from tests.bench.foreign.records import Sent
from tests.bench.support.harness import Bench, at_least, at_most, option_parser, told
from tests.bench.support.rig import Rig, open_rig, wait_until

READY_TIMEOUT_S = 120.0
DONE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Run:
    """One worker and its topics.

    Attributes:
        partitioner: Which the worker is told that producers use.
        topic_codec: `compression.type` of all topics; "producer" leaves it to the producers.
        codecs: Of the producers.
    """

    partitioner: PartitionerName
    topic_codec: str
    codecs: tuple[str, ...] = CODECS

    @property
    def name(self) -> str:
        """Names it in the results."""
        return f"{self.partitioner}, topics {self.topic_codec}"


FULL = (
    Run("murmur2", "producer"),
    Run("crc32", "producer"),
    Run("murmur2", "zstd", ("none", "gzip")),
    Run("crc32", "lz4", ("none", "snappy")),
)
SMOKE = (Run("murmur2", "producer"), Run("crc32", "zstd", ("none",)))


def is_done(rig: Rig, app_id: str, topic: str, log: Log, committed: Log) -> bool:
    """Tell whether the group has committed all records that readers may see."""
    last = Counter[int]()
    for place in log.keys() & committed.keys():
        last[place.partition] = max(last[place.partition], place.offset + 1)
    consumer = rig.clients.consumer(group_id=app_id)
    try:
        return all((consumer.committed(TopicPartition(topic, number)) or 0) >= end for number, end in last.items())
    finally:
        consumer.close()


def settled(rig: Rig, installation: Installation, worker: Worker, sent: list[Sent]) -> tuple[Log, Log]:
    """Wait until the worker is done with all that was sent, and read the topic."""
    spec, broker = installation.topics.listens, rig.broker.bootstrap
    log = read_log(broker, spec.name, spec.partitions, committed=False)
    visible = sum(not record.is_hidden for one in sent for record in one.records)

    def committed_log() -> Log | None:
        # The broker aborts in its own time what was left open, and shows nothing behind it until then.
        found = read_log(broker, spec.name, spec.partitions, committed=True)
        return found if len(found) >= visible else None

    committed = wait_until(committed_log, DONE_TIMEOUT_S, "no transaction is open any more")

    def done() -> bool:
        return worker.has_ended or is_done(rig, installation.app_id, spec.name, log, committed)

    wait_until(done, DONE_TIMEOUT_S, "all listens are folded or refused")
    return log, committed


def measure(bench: Bench, rig: Rig, run: Run) -> tuple[Verdict, int, dict[str, str]]:
    """Let one worker read what all producers send.

    Returns:
        What became of the records; how often the worker ended by itself, or not in order; producers that are not there.
    """
    options = bench.options
    flags = {"topics.partitioner": run.partitioner, "lane.commit_interval_ms": 100}
    config = {"compression.type": run.topic_codec}
    installation = Installation(rig, options.partitions, 0, config, flags)
    worker = installation.worker()
    worker.start()
    wait_until(lambda: worker.has_ended or worker.is_ready(), READY_TIMEOUT_S, "the worker is ready")
    producers = Producers(installation, options.users, options.each)
    producers.send_listens(run.codecs)
    bench.say(f"{run.name}: sent listens")
    producers.send_odd()
    producers.send_transactions()
    bench.say(f"{run.name}: sent the rest")
    log, committed = settled(rig, installation, worker, producers.sent)
    exits = int(worker.has_ended) or int(worker.stop() != 0)
    letters = letters_of(list(read_topic(rig.clients, installation.topics.listens.dead_letters or "")))
    spec = installation.topics.user_state_changelog
    changelog = rig.last_values(spec.name, spec.partitions)
    judge = Judge(run.partitioner, options.partitions, log, committed, letters, changelog)
    return judge.judge(producers.sent), exits, producers.skipped


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options and fill in the sizes."""
    parser = option_parser(__doc__ or "")
    parser.add_argument("--users", type=int, default=None, help="listeners of each producer and codec")
    parser.add_argument("--each", type=int, default=None, help="listens of each of them")
    options = parser.parse_args(arguments)
    options.users = options.users or (4 if options.smoke else 40)
    # More than a ring of 50 holds, so that there are blocks.
    options.each = options.each or (3 if options.smoke else 80)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    bench = Bench("foreign", options)
    due = folded = exits = unexplained = 0
    skipped: dict[str, str] = {}
    with open_rig(options.bootstrap) as rig:
        for run in SMOKE if options.smoke else FULL:
            verdict, ended, absent = measure(bench, rig, run)
            due, folded, unexplained = due + verdict.due, folded + verdict.folded, unexplained + verdict.unexplained
            exits += ended
            skipped |= absent
            told_run = {"due": verdict.due, "folded": verdict.folded, "ends": verdict.counts, "named": verdict.named}
            bench.results[run.name] = told_run
            bench.say(f"{run.name}: {told_run}")
    pins = json.loads((SENDER / "package.json").read_text())["dependencies"]
    bench.results["producers"] = {
        "librdkafka": confluent_kafka.libversion()[0],
        "console": BrokerSettings().kafka_version,
        "kafkajs": pins["kafkajs"],
    }
    bench.results["skipped"] = skipped
    bench.checks = [
        at_least("folded_share", folded / due if due else None, 1),
        at_most("exits", exits, 0),
        at_most("unexplained", unexplained, 0),
        told("records", sum(sum(ends.values()) for ends in _ends(bench))),
        told("skipped_producers", len(skipped)),
    ]
    return bench.finish("folded_share", "exits", "unexplained")


def _ends(bench: Bench) -> list[Counter[str]]:
    return [ends for run in bench.results.values() if "ends" in run for ends in run["ends"].values()]


if __name__ == "__main__":
    sys.exit(main())
