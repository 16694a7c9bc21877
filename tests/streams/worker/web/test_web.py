import asyncio
import socket

import pytest
from fastapi.testclient import TestClient

from sidestream.streams.errors import SettingsError
from sidestream.streams.runtime.health import Health
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.worker.web.routes import create_web
from sidestream.streams.worker.web.server import WebServer
from sidestream.streams.worker.web.settings import WebSettings


class FakeStates:
    def partition_of(self, user_id):
        return len(user_id)

    def owns(self, partition):
        return partition != 7

    def describe(self, user_id, whole_history):
        if user_id == "known" and whole_history:
            return {"listens_folded": 3, "history": [1, 2, 3]}
        return {"listens_folded": 3} if user_id in ("known", "a/b c") else None


@pytest.fixture
def parts():
    metrics = Metrics()
    health = Health(metrics)
    web = create_web(health, metrics, FakeStates(), lambda: {"role": "all"})
    return health, metrics, TestClient(web)


def test_readiness_lists_its_reasons_in_order(parts):
    health, metrics, client = parts
    first, second = ["catalogue: behind by 3"], ["kafka: not joined"]
    health.ready_when(lambda: first)
    health.ready_when(lambda: second)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": [*first, *second], "role": "all"}
    assert metrics.ready._value.get() == 0
    first.clear()
    second.clear()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [])
    assert metrics.ready._value.get() == 1


def test_what_kills_makes_unready_too(parts):
    health, _, client = parts
    assert client.get("/livez").status_code == 200
    health.alive_when(lambda: ["lane: stuck"])
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").json()["reasons"] == ["lane: stuck"]


def test_metrics_are_ours_in_base_units(parts):
    _, metrics, client = parts
    metrics.sessions.labels("model").inc()
    text = client.get("/metrics").text
    assert 'sidestream_sessions_total{outcome="model"} 1.0' in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE sidestream_")]
    assert len(names) > 10
    assert not [name for name in names if name.endswith(("_ms", "_milliseconds", "_kb"))]


def test_states_are_told_by_those_who_hold_them(parts):
    *_, client = parts
    answer = client.get("/v1/users/known/state")
    assert answer.json() == {"user_id": "known", "partition": 5, "listens_folded": 3}
    assert client.get("/v1/users/a%2Fb%20c/state").json()["user_id"] == "a/b c"
    assert client.get("/v1/users/known/state?history=all").json()["history"] == [1, 2, 3]
    assert client.get("/v1/users/known/state?history=none").status_code == 422
    assert client.get("/v1/users/nobody/state").status_code == 404
    elsewhere = client.get("/v1/users/another/state")
    assert (elsewhere.status_code, elsewhere.json()["partition"]) == (421, 7)


def test_a_worker_without_states_says_whom_to_ask():
    metrics = Metrics()
    client = TestClient(create_web(Health(metrics), metrics, None, dict))
    answer = client.get("/v1/users/u/state")
    assert answer.status_code == 404
    assert "role" in answer.json()["error"]


async def fetch(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readline()
    await reader.read()
    writer.close()
    return head.decode()


async def test_the_server_runs_on_our_loop_and_ends_with_it():
    metrics = Metrics()
    server = WebServer(create_web(Health(metrics), metrics, None, dict), WebSettings(port=0))
    await server.start()
    port = server.port
    assert "200" in await fetch(port, "/livez")
    await server.stop()
    with pytest.raises(OSError, match="onnect"):
        await fetch(port, "/livez")


async def test_a_taken_port_is_refused_with_what_to_do():
    metrics = Metrics()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = WebServer(create_web(Health(metrics), metrics, None, dict), WebSettings(port=taken.getsockname()[1]))
        with pytest.raises(SettingsError, match=r"web\.port"):
            await server.start()
