"""How commands find their Kafka: the address in the settings, else a local broker that runs, of any folder."""

from sidestream.streams.broker import find_broker
from sidestream.streams.broker.announce import data_folder
from sidestream.streams.broker.reach import refuse_security, require_answer
from sidestream.streams.cli.output import say
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.settings import Settings


def reach(settings: Settings, *, must_answer: bool = True) -> KafkaSettings:
    """Find the Kafka that a command should talk to.

    Args:
        settings: `kafka.bootstrap`, or name or folder of the local broker.
        must_answer: Try an address that is given; not for a worker, which waits (`worker.broker_wait_s`).

    Returns:
        Client settings with the address filled in.

    Raises:
        AccessError: A Kafka is there, but does not let us in.
        BrokerError: None answers there, or no address is given and no local broker or several run.
        SettingsError: Security is asked for without an address.
    """
    if settings.kafka.bootstrap:
        if must_answer:
            require_answer(settings.kafka)
        return settings.kafka
    refuse_security(settings.kafka)
    found = find_broker(settings.broker)
    if found.data_dir != str(data_folder(settings.broker)):
        say(f"using the local broker {found.name} at {found.bootstrap}, of {found.data_dir}")
    return settings.kafka.model_copy(update={"bootstrap": found.bootstrap, "kind": found.kind})


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
