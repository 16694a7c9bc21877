"""How commands find their Kafka: the address in the settings, else the local broker if it runs."""

from sidestream.streams.broker import broker_status
from sidestream.streams.broker.start import refuse_security, require_answer
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.settings import Settings


def reach(settings: Settings, *, must_answer: bool = True) -> KafkaSettings:
    """Find the Kafka that a command should talk to.

    Args:
        settings: `kafka.bootstrap`, and where the local broker lives.
        must_answer: Try an address that is given; not for a worker, which waits (`worker.broker_wait_s`).

    Returns:
        Client settings with the address filled in.

    Raises:
        AccessError: A Kafka is there, but does not let us in.
        BrokerError: None answers there, or no address is given and no local broker runs.
        SettingsError: Security is asked for without an address.
    """
    if settings.kafka.bootstrap:
        if must_answer:
            require_answer(settings.kafka)
        return settings.kafka
    refuse_security(settings.kafka)
    status = broker_status(settings.broker, settings.kafka)
    if not status.is_running or status.bootstrap is None:
        where = status.bootstrap or f"the local broker of {status.data_dir}"
        msg = f"no Kafka answers: expected one at {where}; run `sidestream broker start` or set kafka.bootstrap"
        raise BrokerError(msg)
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
