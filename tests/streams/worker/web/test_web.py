import asyncio
import json
import socket
import urllib.request
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.errors import SettingsError
from sidestream.streams.runtime.health import Health
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.worker.web.addresses import state_url
from sidestream.streams.worker.web.routes import create_web
from sidestream.streams.worker.web.server import WebServer
from sidestream.streams.worker.web.settings import WebSettings

ODD_IDS = (
    "a\nb\nc",
    "\n",
    "a/b",
    "/",
    "//",
    "state",
    "a/state",
    "..",
    ".",
    "../x",
    "%2F",
    "%",
    "a?b=c&d#e",
    "a+b c",
    "a\\b",
    ";,:@=",
    "東京 Jürgen 👩\u200d💻",
    "\x00\x1b\u202e",
    "x" * 256,
)


class FakeStates:
    def partition_of(self, user_id):
        return len(user_id)

    def owns(self, partition):
        return partition != 7

    def describe(self, user_id, whole_history):
        if user_id == "known" and whole_history:
            return {"listens_folded": 3, "history": [1, 2, 3]}
        return {"listens_folded": 3} if user_id in ("known", "a/b c", *ODD_IDS) else None


@pytest.fixture
def parts():
    metrics = Metrics()
    health = Health(metrics)
    web = create_web(health, metrics, FakeStates(), lambda: {"role": "all"})
    return health, metrics, TestClient(web)


def test_readiness_lists_its_reasons_in_order(parts):
    health, metrics, client = parts
    first, second = ["catalogue: behind by 3"], ["kafka: not joined"]
    health.add_readiness_check(lambda: first)
    health.add_readiness_check(lambda: second)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": [*first, *second], "role": "all"}
    assert metrics.ready._value.get() == 0
    first.clear()
    second.clear()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [])
    assert metrics.ready._value.get() == 1


def test_reasons_for_termination_make_unready_too(parts):
    health, _, client = parts
    assert client.get("/livez").status_code == 200
    health.add_liveness_check(lambda: ["lane: stuck"])
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


def test_states_are_returned_by_the_partition_owner(parts):
    *_, client = parts
    answer = client.get("/v1/users/known/state")
    assert answer.json() == {"user_id": "known", "partition": 5, "listens_folded": 3}
    assert client.get("/v1/users/a%2Fb%20c/state").json()["user_id"] == "a/b c"
    assert client.get("/v1/users/known/state?history=all").json()["history"] == [1, 2, 3]
    assert client.get("/v1/users/known/state?history=none").status_code == 422
    assert client.get("/v1/users/nobody/state").status_code == 404
    elsewhere = client.get("/v1/users/another/state")
    assert (elsewhere.status_code, elsewhere.json()["partition"]) == (421, 7)


def test_a_worker_without_states_names_the_role_to_ask():
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


async def test_where_it_listens_is_told_once_it_does():
    metrics, told = Metrics(), []
    settings = WebSettings(port=0, host="0.0.0.0")  # noqa: S104 - what is told must be an address to ask
    server = WebServer(create_web(Health(metrics), metrics, None, dict), settings)
    server.on_listening = told.append
    await server.start()
    try:
        assert told == [f"http://127.0.0.1:{server.port}"]
        assert "200" in await fetch(server.port, "/livez")
    finally:
        await server.stop()


async def test_a_port_in_use_is_refused_with_a_remedy():
    metrics = Metrics()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = WebServer(create_web(Health(metrics), metrics, None, dict), WebSettings(port=taken.getsockname()[1]))
        with pytest.raises(SettingsError, match=r"web\.port"):
            await server.start()


async def started(port):
    metrics = Metrics()
    server = WebServer(create_web(Health(metrics), metrics, None, dict), WebSettings(port=port))
    await server.start()
    return server


@pytest.fixture
def default_port(monkeypatch):
    """Makes a free port the default."""
    (port,) = free_ports(1)
    monkeypatch.setattr(WebSettings.model_fields["port"], "default", port)
    return port


async def test_next_to_another_worker_the_next_free_port_is_used(default_port):
    first = await started(default_port)
    second = await started(default_port)
    try:
        assert first.port == default_port
        assert first.port < second.port < default_port + 100
        assert "200" in await fetch(second.port, "/livez")
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\nhello"])
async def test_a_default_port_used_by_another_program_is_an_error(default_port, answer):
    async def serve(reader, writer):
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", default_port):
        with pytest.raises(SettingsError, match=rf"cannot listen on 127.0.0.1:{default_port}"):
            await started(default_port)


async def test_a_configured_port_is_never_changed():
    first = await started(0)
    try:
        with pytest.raises(SettingsError, match=r"web\.port"):
            await started(first.port)
    finally:
        await first.stop()


async def test_any_user_id_reaches_its_state():
    """On the server itself: test clients decode a path once more than servers do."""
    metrics = Metrics()
    states = FakeStates()
    states.owns = lambda partition: True
    server = WebServer(create_web(Health(metrics), metrics, states, dict), WebSettings(port=0))
    await server.start()
    base = f"http://127.0.0.1:{server.port}"

    def ask(url):
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
            return json.loads(answer.read())["user_id"]

    try:
        for user_id in ODD_IDS:
            quoted = quote(user_id, safe="")
            for url in (
                state_url(base, user_id),
                f"{base}/v1/users/{quoted}/state",
                f"{base}/v1/state?user_id={quoted}&history=recent",
            ):
                assert await asyncio.to_thread(ask, url) == user_id, url
    finally:
        await server.stop()


def test_an_id_that_a_path_may_change_is_a_query_value():
    assert state_url("b", "..", whole=True) == "b/v1/state?user_id=..&history=all"
    assert state_url("b", "a/b") == "b/v1/state?user_id=a%2Fb"
    assert state_url("b", "u 1", whole=True) == "b/v1/users/u%201/state?history=all"


@pytest.mark.parametrize(
    "path", ["/v1/users//state", "/v1/state", "/v1/state?user_id=", f"/v1/users/{'x' * 257}/state"]
)
def test_an_id_of_invalid_length_is_refused(parts, path):
    *_, client = parts
    answer = client.get(path)
    assert answer.status_code == 400
    assert "expected 1 to 256 characters" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/users/%ff/state", "/v1/state?user_id=%ff"])
def test_an_id_that_is_not_utf8_is_not_looked_up_as_another(parts, path):
    *_, client = parts
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (400, {"error": "user id: expected UTF-8, percent-encoded"})


@pytest.mark.parametrize(("user_id", "message"), [("", "got 0"), ("x" * 257, "got 257"), ("\udcff", "UTF-8 text")])
def test_the_command_refuses_an_invalid_id_before_the_request(user_id, message):
    with pytest.raises(SettingsError, match=message):
        state_url("http://testserver", user_id)
