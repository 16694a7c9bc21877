import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import aiokafka.errors
import kafka.errors
import pytest

from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.security import SecuritySettings
from sidestream.streams.kafka.security.tokens import (
    AiokafkaTokens,
    EndpointTokens,
    FileTokens,
    KafkaPythonTokens,
    token_source,
)


class Endpoint:
    """Token endpoint on loopback with configurable responses, which records the requests."""

    def __init__(self):
        self.status, self.body, self.headers, self.asked = 200, b"{}", {}, []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                endpoint.asked.append((self.headers["Authorization"], parse_qs(form)))
                self.send_response(endpoint.status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(endpoint.body)

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def gives(self, token, **fields):
        self.body = json.dumps({"access_token": token, "token_type": "bearer", **fields}).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def endpoint():
    made = Endpoint()
    yield made
    made.close()


def settings_of(url, **fields):
    return SecuritySettings(
        protocol="SASL_SSL",
        mechanism="OAUTHBEARER",
        token_url=url,
        token_client_id="client:one",
        token_client_secret="hush / &",
        **fields,
    )


def test_tokens_are_requested_by_rfc_6749_and_renewed_before_they_expire(endpoint):
    now = [100.0]
    source = EndpointTokens(settings_of(endpoint.url, token_scope="kafka read"), seconds=lambda: now[0])
    endpoint.gives("one", expires_in=100)
    assert [source.token(), source.token()] == ["one", "one"]
    endpoint.gives("two", expires_in="100")
    now[0] += 79.9
    assert source.token() == "one"
    now[0] += 0.2
    assert source.token() == "two"
    assert len(endpoint.asked) == 2
    header, form = endpoint.asked[0]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "client%3Aone:hush+%2F+%26"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, b'{"error": "invalid_client hush"}', AccessError, "401 Unauthorized; check .*token_client_secret"),
        (302, b"", AccessError, "302 Found"),
        (503, b"", BrokerError, "503 Service Unavailable"),
        (200, b"hush <html>", AccessError, "expected JSON with access_token"),
        (200, b'["hush"]', AccessError, "expected JSON with access_token"),
        (200, b'{"token": "hush"}', AccessError, "expected JSON with access_token"),
        (200, b'{"access_token": "hush", "expires_in": "soon"}', AccessError, "expected JSON with access_token"),
    ],
)
def test_a_response_without_a_token_is_an_error_that_does_not_quote_it(endpoint, status, body, error, words):
    endpoint.status, endpoint.body, endpoint.headers = status, body, {"Location": endpoint.url}
    with pytest.raises(BrokerError, match=words) as caught:
        EndpointTokens(settings_of(endpoint.url)).token()
    assert type(caught.value) is error
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(endpoint.asked) == 1  # a redirect is not followed


def test_an_unreachable_endpoint_is_retried(endpoint):
    away = EndpointTokens(settings_of("http://127.0.0.1:1/token"))
    with pytest.raises(BrokerError, match="does not answer") as caught:
        away.token()
    assert not isinstance(caught.value, AccessError)


def test_a_token_file_is_read_each_time(tmp_path):
    file = tmp_path / "token"
    source = FileTokens(file)
    for content, words in ((None, "No such file"), (" \n", "an empty file"), ("hüsh", "not ASCII")):
        if content is not None:
            file.write_text(content, encoding="utf-8")
        with pytest.raises(AccessError, match=words) as caught:
            source.token()
        assert "sh" not in str(caught.value).replace(str(file), "")
    for token in ("a.b.c", "d.e.f"):
        file.write_text(token + "\n")
        assert source.token() == token


async def test_a_missing_token_raises_the_error_class_of_each_library(tmp_path):
    settings = SecuritySettings(protocol="SASL_SSL", mechanism="OAUTHBEARER", token_file=tmp_path / "none")
    source = token_source(settings)
    with pytest.raises(aiokafka.errors.KafkaConnectionError, match="token_file"):
        await AiokafkaTokens(source).token()
    with pytest.raises(kafka.errors.KafkaConnectionError, match="token_file"):
        KafkaPythonTokens(source).token()
    (tmp_path / "none").write_text("x")
    assert await AiokafkaTokens(source).token() == KafkaPythonTokens(source).token() == "x"
