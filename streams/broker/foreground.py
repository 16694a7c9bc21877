"""Keeps a command in the foreground while its local Kafka runs, and stops the Kafka when the command ends."""

import time

from sidestream.streams.broker import local
from sidestream.streams.broker.start import RunningBroker, stop_broker
from sidestream.streams.errors import BrokerError

POLL_S = 0.2


def run_until_ended(broker: RunningBroker) -> None:
    """Wait until the command is interrupted, then stop the broker, even if another process started it.

    Args:
        broker: A local Kafka.

    Raises:
        BrokerError: The broker ended before the command.
    """
    try:
        while local.find(broker.settings) is not None:
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        stop_broker(broker.settings)
        return
    stop_broker(broker.settings)
    msg = f"the local Kafka at {broker.bootstrap} ended; see kafka.log in {broker.settings.data_dir}"
    raise BrokerError(msg)
