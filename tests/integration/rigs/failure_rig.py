"""Helpers of the failure table: the watchdog's limits, and workers that can be made to fail."""

import time
from dataclasses import dataclass

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics, create_topics
from tests.integration.rigs.session_rig import SCRIPT, wait_until

FAULTY = SCRIPT.with_name("faulty_worker.py")
# From the end of a limit to the end of the process, on a busy machine.
MARGIN_S = 5.0


@dataclass(frozen=True)
class Limits:
    """Limits of the watchdog in seconds, and the flags that set them."""

    session: float = 10.0
    shutdown: float = 15.0
    loop_blocked: float = 20.0
    no_progress: float = 30.0

    def flags(self):
        return {
            "kafka.session_timeout_ms": int(self.session * 1e3),
            "worker.watchdog.shutdown_s": self.shutdown,
            "worker.watchdog.loop_blocked_s": self.loop_blocked,
            "worker.watchdog.no_progress_s": self.no_progress,
        }


SHORT = Limits(session=3.0, shutdown=5.0, loop_blocked=3.0, no_progress=8.0)


def make_own_topics(broker: RunningBroker, prefix: str) -> Topics:
    """Create the topics of a Kafka that belongs to one test."""
    topics = build_topics(TopicSettings(prefix=prefix, user_partitions=4, item_partitions=2))
    admin = broker.topic_admin()
    try:
        create_topics(admin, topics)
    finally:
        admin.close()
    return topics


def ready_with_items(loop):
    for number in range(5):
        loop.item(f"i{number}")
    loop.listen("u", "i0", 2_000)
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 5, what="items")
    # Counted when durable; the state itself is shown before.
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') == 1, what="the first listen")
    return loop


def ended(loop, timeout_s):
    """Wait for the end; return exit code, seconds and the last log line."""
    began = time.monotonic()
    code = loop.process.wait(timeout_s)
    return code, time.monotonic() - began, loop.log.read_text().strip().splitlines()[-1]


def state_size(loop, user="u"):
    status, state = loop.get(f"/v1/users/{user}/state")
    return len(state["history"]) if status == 200 else -1
