"""Tokens for OAUTHBEARER: from a file that somebody keeps fresh, or from an endpoint by our client credentials.

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
from sidestream.streams.kafka.security.tls import trust

REQUEST_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20
# A token is asked for anew after this share of its life, so that none expires between us and the broker.
USED_SHARE = 0.8
# RFC 6749 only recommends that an answer says how long its token lives.
UNSAID_LIFE_S = 60.0
SERVER_ERRORS = 500


class TokenSource(Protocol):
    """Gives tokens; safe to call from any thread."""

    def token(self) -> str:
        """Give a token that is valid now; may block."""
        ...


class FileTokens:
    """Tokens of a file.

    Args:
        path: The file; read each time, since somebody else replaces its content.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """Read the token.

        Returns:
            Its text.

        Raises:
            AccessError: The file cannot be read or is empty.
        """
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII"
            msg = f"kafka.security.token_file {self._path}: expected a token, got none: {reason}"
            raise AccessError(msg) from None  # a decoding error would carry the bytes
        if not text:
            msg = f"kafka.security.token_file {self._path}: expected a token, got an empty file"
            raise AccessError(msg)
        return text


class EndpointTokens:
    """Tokens of an endpoint, each used until most of its life is over.

    Args:
        settings: Endpoint and credentials.
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
            trust(context, settings.ca_file)
        # urllib would follow a redirection with the Authorization header, whoever it leads to.
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))

    def token(self) -> str:
        """Give the token at hand, or ask for a new one.

        Returns:
            Its text.

        Raises:
            AccessError: The endpoint refuses, or answers without a token.
            BrokerError: It does not answer; it may later.
        """
        with self._lock:
            if self._seconds() >= self._until_s:
                asked_at_s = self._seconds()
                self._token, life_s = self._ask()
                self._until_s = asked_at_s + USED_SHARE * life_s
            return self._token

    def _ask(self) -> tuple[str, float]:
        url = self._settings.token_url or ""
        try:
            with self._opener.open(self._request(url), timeout=REQUEST_TIMEOUT_S) as answer:
                body = answer.read(MAX_ANSWER_BYTES)
            fields = json.loads(body)
            token, life_s = str(fields["access_token"]), float(fields.get("expires_in", UNSAID_LIFE_S))
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
            # Not chained: the answer may hold a token.
            msg = f"token endpoint {url}: expected JSON with access_token, got something else"
            raise AccessError(msg) from None
        return token, life_s

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
        # The settings allow https, and http on loopback.
        return urllib.request.Request(url, data=urlencode(form).encode(), headers=headers)  # noqa: S310


class AiokafkaTokens(aiokafka.abc.AbstractTokenProvider):  # type: ignore[misc] # aiokafka is untyped
    """Tokens as aiokafka and Faust ask for them.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """Give a token without blocking the loop.

        Returns:
            Its text.

        Raises:
            KafkaConnectionError: There is none; aiokafka tries again later, as if the broker were away.
        """
        try:
            return await asyncio.to_thread(self._source.token)
        except BrokerError as error:
            raise aiokafka.errors.KafkaConnectionError(str(error)) from error


class KafkaPythonTokens(kafka_python.AbstractTokenProvider):  # type: ignore[misc] # kafka-python is untyped
    """Tokens as kafka-python asks for them, in its own thread.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        """Give a token.

        Returns:
            Its text.

        Raises:
            KafkaConnectionError: There is none; kafka-python tries again later.
        """
        try:
            return self._source.token()
        except BrokerError as error:
            raise kafka.errors.KafkaConnectionError(str(error)) from error


def token_source(settings: SecuritySettings) -> TokenSource:
    """Make what the settings name.

    Args:
        settings: Of mechanism OAUTHBEARER.

    Returns:
        The source; nothing is read or asked yet.
    """
    return FileTokens(settings.token_file) if settings.token_file is not None else EndpointTokens(settings)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Any:
        """Refuse: the redirection then becomes an error with its own code."""
        del req, fp, code, msg, headers, newurl
