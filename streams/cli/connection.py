"""How commands find their Kafka: the address in the settings, else the local broker if it runs."""

from streams.broker import broker_status
from streams.connect import Clients, KafkaSettings
from streams.errors import BrokerError
from streams.settings import Settings


def reach(settings: Settings) -> KafkaSettings:
    """Find the Kafka that a command should talk to.

    Args:
        settings: `kafka.bootstrap`, and where the local broker lives.

    Returns:
        Client settings with the address filled in.

    Raises:
        BrokerError: No address is given and no local broker runs.
    """
    status = broker_status(settings.broker, settings.kafka)
    if not status.is_running or status.bootstrap is None:
        where = status.bootstrap or f"the local broker of {status.data_dir}"
        msg = f"no Kafka answers: expected one at {where}; run `sidestream broker start` or set kafka.bootstrap"
        raise BrokerError(msg)
    if settings.kafka.bootstrap:
        return settings.kafka
    return settings.kafka.model_copy(update={"bootstrap": status.bootstrap, "kind": status.kind})


def clients_of(settings: Settings) -> Clients:
    """Make the client factory of a command.

    Args:
        settings: All settings.

    Returns:
        The factory, address filled in.

    Raises:
        BrokerError: No Kafka answers.
    """
    return Clients(reach(settings))
