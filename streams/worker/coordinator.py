"""Checks whether Kafka has a coordinator for a group yet, before Faust's client asks and reports an error."""

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from sidestream.streams.kafka.clients import Clients


async def has_coordinator(clients: Clients, group_id: str) -> bool | None:
    """Request the coordinator of a group; the request makes a new Kafka create its offsets topic.

    Args:
        clients: Kafka clients.
        group_id: Consumer group.

    Returns:
        Whether there is one; `None` if Kafka cannot be reached or refuses to answer.
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
