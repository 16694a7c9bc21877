"""Local brokers: Apache Kafka run from its jars, and librdkafka's embedded broker, behind one interface."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.streams.broker.settings import BrokerSettings
    from sidestream.streams.broker.start import RunningBroker, start_broker, stop_broker
    from sidestream.streams.broker.status import BrokerStatus, all_brokers, broker_status, find_broker

__all__ = [
    "BrokerSettings",
    "BrokerStatus",
    "RunningBroker",
    "all_brokers",
    "broker_status",
    "find_broker",
    "start_broker",
    "stop_broker",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "settings": ("BrokerSettings",),
        "start": ("RunningBroker", "start_broker", "stop_broker"),
        "status": ("BrokerStatus", "all_brokers", "broker_status", "find_broker"),
    },
)
