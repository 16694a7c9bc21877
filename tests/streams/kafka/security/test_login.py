import asyncio
import gc
import socket

import pytest

from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.security import SecuritySettings, wait_for_login


@pytest.fixture
def mute():
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_an_unresponsive_broker_times_out_and_leaves_nothing_open(mute, protocol):
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:1, nonsense,{mute}", security=SecuritySettings(protocol=protocol))
    with pytest.raises(BrokerError) as caught:
        asyncio.run(Clients(kafka).log_in(0.3))
    # Unclosed resources warn when collected, and warnings are errors.
    gc.collect()
    assert not isinstance(caught.value, AccessError)
    assert f"{mute}: no answer in time" in str(caught.value)
    assert f"with {protocol}: 127.0.0.1:1: " in str(caught.value)


async def test_a_login_can_be_waited_for_inside_a_running_loop():
    with pytest.raises(BrokerError, match=r"no Kafka answers at nonsense with PLAINTEXT: expected host:port"):
        wait_for_login(Clients(KafkaSettings(bootstrap="nonsense")).log_in(1.0))
