"""The knock at the door: one connection that goes as far as a first answer, and says clearly what went wrong.

The client libraries meet a wrong password or certificate deep inside their reconnecting, log it and try again: an
operator would see a timeout after half a minute. So whoever starts asks here first.
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
    """Connect, encrypt, authenticate and ask for the brokers; one address that answers is enough.

    Args:
        bootstrap: `host:port[,host:port…]`.
        credentials: What we say of ourselves.
        timeout_s: Limit for one address.

    Raises:
        AccessError: A broker is there, but its certificate is not trusted or our credentials are refused: trying
            again will not help.
        BrokerError: None answers, or one advertises a host that does not resolve; it may later.
    """
    refused: list[str] = []
    silent: list[str] = []
    for address, host, port in _addresses(bootstrap):
        try:
            async with asyncio.timeout(timeout_s):
                brokers = await _knock(host, port, credentials, timeout_s)
                # A look-up of a name blocks.
                await asyncio.to_thread(require_resolvable, bootstrap, brokers)
        except ssl.SSLCertVerificationError as error:
            refused.append(_untrusted(address, error))
        except _REFUSALS as error:
            refused.append(_denied(address, credentials, error))
        except (OSError, KafkaError, TimeoutError) as error:
            # A token that cannot be had comes through aiokafka as a lost connection.
            words = refused if isinstance(error.__cause__, AccessError) else silent
            words.append(f"{address}: {_in_words(error)}")
        else:
            return
    if refused:
        raise AccessError("; ".join(refused))
    msg = f"no Kafka answers at {bootstrap} by {credentials.who}: {'; '.join(silent) or 'expected host:port'}"
    raise BrokerError(msg)


def wait_for_login(attempt: Coroutine[Any, Any, None]) -> None:
    """Make an attempt from code that is not async, be there a running event loop or not.

    Args:
        attempt: What `log_in` returned.

    Raises:
        AccessError: As the attempt says.
        BrokerError: As the attempt says.
    """
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, attempt).result()


async def _knock(host: str, port: int, credentials: Credentials, timeout_s: float) -> list[tuple[str, int]]:
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
        # A broker that refuses a token says so in a challenge, which aiokafka takes for a yes; what is asked next is
        # then answered with nothing.
        if not answer.brokers:
            has_token = credentials.settings.mechanism == "OAUTHBEARER"
            raise (
                SaslAuthenticationFailed("invalid token") if has_token else KafkaConnectionError("no brokers known yet")
            )
        return [(broker_host, broker_port) for _, broker_host, broker_port, *_ in answer.brokers]
    finally:
        closed = connection.close()
        # Without a transport nothing would ever say that it is closed.
        if connection._protocol is not None:
            await asyncio.wait([closed], timeout=_CLOSE_S)


def _untrusted(address: str, error: ssl.SSLCertVerificationError) -> str:
    return (
        f"kafka at {address}: its certificate is not trusted: {error.verify_message.rstrip('.')}; check "
        "kafka.security.ca_file, and that the address is the one the certificate was made for"
    )


def _denied(address: str, credentials: Credentials, error: KafkaError) -> str:
    what = {"OAUTHBEARER": "its token"}.get(credentials.settings.mechanism or "", "username and password")
    # The text is the broker's own; it never repeats what it was given.
    return (
        f"kafka at {address} refuses {credentials.who}: {_in_words(error)}; check kafka.security.mechanism, {what} "
        "(SIDESTREAM_KAFKA__SECURITY__…) and the user on the broker"
    )


def _in_words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__


def _addresses(bootstrap: str) -> Iterator[tuple[str, str, int]]:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if port.isdigit():
            yield address.strip(), host.strip("[]"), int(port)
