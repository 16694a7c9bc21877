"""quixstreams with state and changelog, at its default and at its exactly-once setting.

It needs older pydantic and confluent-kafka than the product, so it runs in an environment of its own (`quix_env`). It
gathers the changes of a whole commit interval (5 s by default) in memory, and writes each user once when that is over.
"""

from typing import Any

from quixstreams import Application, message_context

from tests.bench.support.work import Meter, fold_one, leave, peer_config, read

STATE_KEY = b"s"


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
