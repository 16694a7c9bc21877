"""Login check: opens one connection, up to the first response, and reports clearly what went wrong.

The client libraries detect a wrong password or certificate deep inside their reconnect loop, log it and retry: an
operator would see a timeout after half a minute. So every start logs in here first.
"""

import asyncio
import ssl
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.security.advertised import require_resolvable
from sidestream.streams.kafka.security.credentials import Credentials

_CLOSE_S = 1.0
_REFUSALS = (AuthenticationFailedError, SaslAuthenticationFailed, IllegalSaslStateError, UnsupportedSaslMechanismError)


async def log_in(bootstrap: str, credentials: Credentials, timeout_s: float) -> None:
    """Connect, encrypt, authenticate and request the broker list; one address that answers is enough.

    Args:
        bootstrap: `host:port[,host:port…]`.


        credentials: Our credentials.
        timeout_s: Timeout for one address.

    Raises:
        AccessError: A broker answers, but its certificate is not trusted or our credentials are rejected: a retry
            will not help.
        BrokerError: No broker answers, or one advertises a host that does not resolve; a retry may help.
    """
    rejected: list[str] = []
    unreachable: list[str] = []
    for address, host, port in _addresses(bootstrap):
        try:
            async with asyncio.timeout(timeout_s):
                brokers = await _fetch_brokers(host, port, credentials, timeout_s)
                # Name resolution blocks.
                await asyncio.to_thread(require_resolvable, bootstrap, brokers)
        except ssl.SSLCertVerificationError as error:
            rejected.append(_untrusted(address, error))
        except _REFUSALS as error:
            rejected.append(_denied(address, credentials, error))
        except (OSError, KafkaError, TimeoutError) as error:
            # aiokafka reports a failure to get a token as a lost connection.
            errors = rejected if isinstance(error.__cause__, AccessError) else unreachable
            errors.append(f"{address}: {_describe(error)}")
        else:
            return
    if rejected:
        raise AccessError("; ".join(rejected))
    reasons = "; ".join(unreachable) or "expected host:port"
    msg = f"no Kafka answers at {bootstrap} with {credentials.identity}: {reasons}"
    raise BrokerError(msg)


def wait_for_login(attempt: Coroutine[Any, Any, None]) -> None:
    """Run `log_in` from synchronous code, whether or not an event loop is running; raises its errors."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, attempt).result()


async def _fetch_brokers(host: str, port: int, credentials: Credentials, timeout_s: float) -> list[tuple[str, int]]:
    connection = AIOKafkaConnection(
        host,
        port,
        client_id="sidestream-login",
        request_timeout_ms=int(timeout_s * 1000),
        **credentials.aiokafka(),
    )
    try:
        await connection.connect()
        answer = await connection.send(MetadataRequest([]))
        # A broker rejects a token with a challenge, which aiokafka mistakes for success; the next request then gets an
        # empty response.
        if not answer.brokers:
            has_token = credentials.settings.mechanism == "OAUTHBEARER"
            raise (
                SaslAuthenticationFailed("invalid token") if has_token else KafkaConnectionError("no brokers known yet")
            )
        return [(broker_host, broker_port) for _, broker_host, broker_port, *_ in answer.brokers]
    finally:
        closed = connection.close()
        # Without a transport, `closed` would never complete.
        if connection._protocol is not None:
            await asyncio.wait([closed], timeout=_CLOSE_S)


def _untrusted(address: str, error: ssl.SSLCertVerificationError) -> str:
    return (
        f"kafka at {address}: its certificate is not trusted: {error.verify_message.rstrip('.')}; check "
        "kafka.security.ca_file, and that the address is the one the certificate was made for"
    )


def _denied(address: str, credentials: Credentials, error: KafkaError) -> str:
    what = {"OAUTHBEARER": "its token"}.get(credentials.settings.mechanism or "", "username and password")
    # The text is the broker's own; it never repeats the credentials.
    return (
        f"kafka at {address} refuses {credentials.identity}: {_describe(error)}; check kafka.security.mechanism, "
        f"{what} (SIDESTREAM_KAFKA__SECURITY__…) and the user on the broker"
    )


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__


def _addresses(bootstrap: str) -> Iterator[tuple[str, str, int]]:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if port.isdigit():
            yield address.strip(), host.strip("[]"), int(port)
