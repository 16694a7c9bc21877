"""Whether Kafka has a coordinator for a group yet, asked before Faust's client asks and reports an error."""

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from sidestream.streams.kafka.clients import Clients


async def has_coordinator(clients: Clients, group_id: str) -> bool | None:
    """Ask for the coordinator of a group; asking makes a new Kafka set up its offsets topic.

    Args:
        clients: The Kafka.
        group_id: Consumer group.

    Returns:
        Whether there is one; none where Kafka cannot be asked, or will not say.
    """
    client = clients.async_client()
    try:
        await client.bootstrap()
        await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
        return False
    except KafkaError:
        return None
    finally:
        await client.close()
    return True
