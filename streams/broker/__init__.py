"""Brokers of our own: a local Apache Kafka run from its jars, and librdkafka's embedded one; one interface."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.streams.broker.settings import BrokerSettings
    from sidestream.streams.broker.start import BrokerStatus, RunningBroker, broker_status, start_broker, stop_broker

__all__ = ["BrokerSettings", "BrokerStatus", "RunningBroker", "broker_status", "start_broker", "stop_broker"]

__getattr__ = lazy_exports(
    __name__,
    {
        "settings": ("BrokerSettings",),
        "start": ("BrokerStatus", "RunningBroker", "broker_status", "start_broker", "stop_broker"),
    },
)
