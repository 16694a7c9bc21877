"""Credentials as keyword arguments of each client library: aiokafka, kafka-python and Faust."""

import ssl
from typing import TYPE_CHECKING, Any

from sidestream.streams.kafka.security.settings import SecuritySettings
from sidestream.streams.kafka.security.tls import tls_context

if TYPE_CHECKING:
    from sidestream.streams.kafka.security.tokens import TokenSource

MASK = "********"


class HiddenStr(str):
    """Secret string inside a library's configuration: a normal string, but its repr is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Credentials:
    """Security arguments for all clients of one Kafka cluster; certificate files are read once, here.

    Args:
        settings: Protocol, mechanism, secrets and files.

    Raises:
        SettingsError: A certificate or key cannot be used.
    """

    def __init__(self, settings: SecuritySettings) -> None:
        self.settings = settings
        self._context: ssl.SSLContext | None = tls_context(settings) if settings.has_tls else None
        self._tokens: TokenSource | None = None
        if settings.mechanism == "OAUTHBEARER":
            from sidestream.streams.kafka.security.tokens import token_source  # imports aiokafka: only with tokens

            self._tokens = token_source(settings)

    def __repr__(self) -> str:
        return f"Credentials({self.identity})"

    @property
    def identity(self) -> str:
        """Protocol, mechanism and user name, for messages."""
        settings = self.settings
        words = [settings.protocol, settings.mechanism or ""]
        name = settings.username or settings.token_client_id
        return " ".join(word for word in words if word) + (f" as {name!r}" if name else "")

    def aiokafka(self) -> dict[str, Any]:
        """Keyword arguments of aiokafka's consumer, producer and connection."""
        options = {"security_protocol": self.settings.protocol, "ssl_context": self._context}
        if not self.settings.has_sasl:
            return options
        if self._tokens is not None:
            from sidestream.streams.kafka.security.tokens import AiokafkaTokens

            tokens = AiokafkaTokens(self._tokens)
            return {**options, "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
        return {**options, **self._password()}

    def kafka_python(self) -> dict[str, Any]:
        """Keyword arguments of kafka-python's consumer, producer and admin client."""
        # With a context, kafka-python ignores all other ssl_ options, including the hostname check.
        options = {"security_protocol": self.settings.protocol, "ssl_context": self._context}
        if not self.settings.has_sasl:
            return options
        if self._tokens is not None:
            from sidestream.streams.kafka.security.tokens import KafkaPythonTokens

            tokens = KafkaPythonTokens(self._tokens)
            return {**options, "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
        return {**options, **self._password()}

    def faust(self) -> dict[str, Any]:
        """Keyword arguments of `faust.App`."""
        if self.settings.protocol == "PLAINTEXT":
            return {}
        # Importing Faust takes most of a second; the user client does not need it.
        from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

        if not self.settings.has_sasl:
            return {"broker_credentials": SSLCredentials(self._context)}
        if self._tokens is not None:
            from sidestream.streams.kafka.security.tokens import AiokafkaTokens

            tokens = AiokafkaTokens(self._tokens)
            return {"broker_credentials": OAuthCredentials(oauth_cb=tokens, ssl_context=self._context)}
        password = self._password()
        credentials = SASLCredentials(
            mechanism=password["sasl_mechanism"],
            username=password["sasl_plain_username"],
            password=password["sasl_plain_password"],
            ssl_context=self._context,
        )
        return {"broker_credentials": credentials}

    def _password(self) -> dict[str, Any]:
        secret = self.settings.password.get_secret_value() if self.settings.password else ""
        return {
            "sasl_mechanism": self.settings.mechanism,
            "sasl_plain_username": self.settings.username,
            "sasl_plain_password": HiddenStr(secret),
        }
