"""OAUTHBEARER tokens: from a file that another process keeps up to date, or from an endpoint with client credentials.

Source: RFC 6749 section 4.4 (client credentials grant) and 2.3.1 (credentials in the Authorization header).
"""

import asyncio
import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote_plus, urlencode

import aiokafka.abc
import aiokafka.errors
import kafka.errors
from kafka.net.sasl import oauth as kafka_python

from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.security.settings import SecuritySettings
from sidestream.streams.kafka.security.tls import add_authorities

REQUEST_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20
# A token is renewed after this share of its lifetime, so that it does not expire on the way to the broker.
RENEWAL_SHARE = 0.8
# Used if the response has no `expires_in`, which RFC 6749 only recommends.
DEFAULT_LIFETIME_S = 60.0
SERVER_ERRORS = 500


class TokenSource(Protocol):
    """Source of tokens; thread-safe."""

    def token(self) -> str:
        """Return a token that is valid now; may block."""
        ...


class FileTokens:
    """Token source that reads a file.

    Args:
        path: Token file; read each time, since another process replaces its content.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """Read the token.

        Returns:
            The token.

        Raises:
            AccessError: The file cannot be read or is empty.
        """
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII"
            msg = f"kafka.security.token_file {self._path}: expected a token, got none: {reason}"
            raise AccessError(msg) from None  # a decoding error would contain the bytes of the token
        if not text:
            msg = f"kafka.security.token_file {self._path}: expected a token, got an empty file"
            raise AccessError(msg)
        return text


class EndpointTokens:
    """Token source that requests tokens from an endpoint and uses each for most of its lifetime.

    Args:
        settings: Endpoint and client credentials.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, settings: SecuritySettings, seconds: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._seconds = seconds
        self._lock = threading.Lock()
        self._token = ""
        self._until_s = float("-inf")
        context = ssl.create_default_context()
        if settings.ca_file is not None:
            add_authorities(context, settings.ca_file)
        # urllib would follow a redirect to any host with the Authorization header.
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))

    def token(self) -> str:
        """Return the current token, or request a new one.

        Returns:
            The token.

        Raises:
            AccessError: The endpoint rejects the request, or its response has no token.
            BrokerError: The endpoint does not answer; a retry may help.
        """
        with self._lock:
            if self._seconds() >= self._until_s:
                requested_at_s = self._seconds()
                self._token, lifetime_s = self._request_token()
                self._until_s = requested_at_s + RENEWAL_SHARE * lifetime_s
            return self._token

    def _request_token(self) -> tuple[str, float]:
        url = self._settings.token_url or ""
        try:
            with self._opener.open(self._request(url), timeout=REQUEST_TIMEOUT_S) as answer:
                body = answer.read(MAX_ANSWER_BYTES)
            fields = json.loads(body)
            token, lifetime_s = str(fields["access_token"]), float(fields.get("expires_in", DEFAULT_LIFETIME_S))
        except urllib.error.HTTPError as error:
            error.close()
            msg = f"token endpoint {url}: {error.code} {error.reason}"
            if error.code >= SERVER_ERRORS:
                raise BrokerError(msg) from None
            msg += "; check kafka.security.token_url, token_client_id, token_client_secret and token_scope"
            raise AccessError(msg) from None
        except (OSError, HTTPException) as error:
            msg = f"token endpoint {url} does not answer: {error}; check kafka.security.token_url"
            raise BrokerError(msg) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            # Not chained: the response may contain a token.
            msg = f"token endpoint {url}: expected JSON with access_token, got something else"
            raise AccessError(msg) from None
        return token, lifetime_s

    def _request(self, url: str) -> urllib.request.Request:
        settings = self._settings
        secret = settings.token_client_secret.get_secret_value() if settings.token_client_secret else ""
        pair = f"{quote_plus(settings.token_client_id or '')}:{quote_plus(secret)}"
        form = {"grant_type": "client_credentials"}
        if settings.token_scope:
            form["scope"] = settings.token_scope
        headers = {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
            "Accept": "application/json",
        }
        # The settings allow only https, or http on loopback.
        return urllib.request.Request(url, data=urlencode(form).encode(), headers=headers)  # noqa: S310


class AiokafkaTokens(aiokafka.abc.AbstractTokenProvider):  # type: ignore[misc] # aiokafka is untyped
    """Token provider for aiokafka and Faust."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """Return a token without blocking the event loop.

        Returns:
            The token.

        Raises:
            KafkaConnectionError: No token is available; aiokafka retries later, as if the broker were down.
        """
        try:
            return await asyncio.to_thread(self._source.token)
        except BrokerError as error:
            raise aiokafka.errors.KafkaConnectionError(str(error)) from error


class KafkaPythonTokens(kafka_python.AbstractTokenProvider):  # type: ignore[misc] # kafka-python is untyped
    """Token provider for kafka-python, which calls it from its own thread."""

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        """Return a token.

        Returns:
            The token.

        Raises:
            KafkaConnectionError: No token is available; kafka-python retries later.
        """
        try:
            return self._source.token()
        except BrokerError as error:
            raise kafka.errors.KafkaConnectionError(str(error)) from error


def token_source(settings: SecuritySettings) -> TokenSource:
    """Create the token source of the settings; nothing is read or requested yet."""
    return FileTokens(settings.token_file) if settings.token_file is not None else EndpointTokens(settings)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Any:
        """Follow no redirect: it then raises an error with its status code."""
        del req, fp, code, msg, headers, newurl
