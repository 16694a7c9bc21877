"""quixstreams with state and changelog, at least once and exactly once, at its best settings.

It needs older pydantic and confluent-kafka than the product, so it runs in an environment of its own (`quix_env`). It
gathers the changes of a whole commit interval in memory, and writes each user once when that is over: a long interval
is cheap, and what a crash undoes is as long. `commit_s` sets it; fetches and batches are large.
"""

from typing import Any

from quixstreams import Application, message_context

from tests.bench.support.work import Meter, fold_one, leave, peer_config, read

STATE_KEY = b"s"
CONSUMER = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 100, "queued.min.messages": 100_000}
PRODUCER = {"linger.ms": 20, "batch.size": 524_288, "queue.buffering.max.messages": 500_000}


def main() -> None:
    """Drain the log; the last checkpoint is part of the measurement."""
    config = peer_config()
    app = Application(
        broker_address=config["bootstrap"],
        consumer_group=config["group"],
        auto_offset_reset="earliest",
        state_dir=config["data_dir"],
        processing_guarantee="exactly-once" if config["exactly_once"] else "at-least-once",
        loglevel="WARNING",
        commit_interval=config["commit_s"],
        consumer_extra_config=CONSUMER,
        producer_extra_config=PRODUCER,
    )
    topic = app.topic(config["source"], key_deserializer="bytes", value_deserializer="bytes")
    meter = Meter(config["listens"])

    def listens(value: bytes, state: Any) -> None:
        meter.start()
        listen = read(value)
        if listen is not None:
            offset = message_context().offset
            state.set_bytes(STATE_KEY, fold_one(state.get_bytes(STATE_KEY), offset, listen))
        meter.done()

    frame = app.dataframe(topic)
    frame.update(listens, stateful=True)
    app.run(count=config["listens"], collect=False)
    leave(meter.report())


if __name__ == "__main__":
    main()
