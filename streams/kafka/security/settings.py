"""Settings of connection security; incomplete or ineffective combinations are rejected by name."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from sidestream.streams.errors import SettingsError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_PASSWORD = ("username", "password")
_ENDPOINT = ("token_url", "token_client_id", "token_client_secret", "token_scope")
_TOKEN = ("token_file", *_ENDPOINT)
_TLS = ("ca_file", "client_cert_file", "client_key_file", "client_key_password")


class SecuritySettings(BaseModel):
    """Encryption and authentication of clients.

    Raises:
        SettingsError: A combination of settings is incomplete, or a setting would have no effect.
    """

    # Input is hidden: pydantic's own error would print the value, which may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    protocol: Protocol = Field(
        default="PLAINTEXT",
        description="SSL encrypts, SASL_PLAINTEXT authenticates, SASL_SSL does both; must match the broker's listener.",
    )
    mechanism: Mechanism | None = Field(default=None, description="SASL mechanism; needs a SASL_ protocol.")
    username: str | None = Field(default=None, description="User name for PLAIN and SCRAM.")
    password: SecretStr | None = Field(
        default=None,
        description="Password for PLAIN and SCRAM; from the environment or a file, never --set.",
    )
    token_file: Path | None = Field(
        default=None, description="OAUTHBEARER: file with the token, read again for each connection."
    )
    token_url: str | None = Field(
        default=None,
        description="OAUTHBEARER: endpoint that issues tokens for client credentials; https, or http on loopback.",
    )
    token_client_id: str | None = Field(default=None, description="OAUTHBEARER: client id at the token endpoint.")
    token_client_secret: SecretStr | None = Field(
        default=None, description="OAUTHBEARER: client secret; from the environment or a file, never --set."
    )
    token_scope: str | None = Field(
        default=None, description="OAUTHBEARER: scope to request, if the endpoint needs one."
    )
    ca_file: Path | None = Field(
        default=None, description="TLS: PEM file of the certificate authorities to trust; unset: the system's."
    )
    check_hostname: bool = Field(
        default=True,
        description="TLS: the broker's certificate must name the host we connect to; off only for tests.",
    )
    client_cert_file: Path | None = Field(
        default=None, description="TLS: PEM file of the client certificate, for brokers that require one."
    )
    client_key_file: Path | None = Field(
        default=None, description="TLS: PEM file of the client key; unset: the key is in the certificate file."
    )
    client_key_password: SecretStr | None = Field(
        default=None, description="TLS: password of an encrypted key; from the environment or a file, never --set."
    )

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def has_sasl(self) -> bool:
        """Whether connections authenticate with SASL."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_tls()
        if not self.has_sasl:
            self._reject(("mechanism", *_PASSWORD, *_TOKEN), f"protocol={self.protocol}", "SASL_PLAINTEXT or SASL_SSL")
        elif self.mechanism is None:
            msg = (
                f"kafka.security.protocol={self.protocol} needs kafka.security.mechanism: expected PLAIN, "
                "SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, got none"
            )
            raise SettingsError(msg)
        elif self.mechanism == "OAUTHBEARER":
            self._reject(_PASSWORD, "mechanism=OAUTHBEARER", "PLAIN or SCRAM-SHA-512")
            self._check_tokens()
        else:
            self._reject(_TOKEN, f"mechanism={self.mechanism}", "OAUTHBEARER")
            self._require(_PASSWORD, f"mechanism={self.mechanism}")
        return self

    def _check_tls(self) -> None:
        if not self.has_tls:
            self._reject(_TLS, f"protocol={self.protocol}", "SSL or SASL_SSL")
            if not self.check_hostname:
                msg = f"kafka.security.check_hostname=false has no effect with protocol={self.protocol}; leave it out"
                raise SettingsError(msg)
        if self.client_cert_file is None and (self.client_key_file or self.client_key_password):
            self._require(("client_cert_file",), "a client key")

    def _check_tokens(self) -> None:
        if self.token_file is not None:
            self._reject(_ENDPOINT, "token_file", "no token_file: there can be only one source of tokens")
            return
        if self.token_url is None:
            msg = (
                "kafka.security.mechanism=OAUTHBEARER needs kafka.security.token_file, or token_url with "
                "token_client_id and token_client_secret; got neither"
            )
            raise SettingsError(msg)
        self._require(("token_client_id", "token_client_secret"), "token_url")
        parts = urlsplit(self.token_url)
        on_loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.username or parts.password:
            msg = "kafka.security.token_url must hold no user or password; give token_client_id and token_client_secret"
            raise SettingsError(msg)
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and on_loopback)):
            msg = (
                f"kafka.security.token_url: expected https://host/…, got {self.token_url!r}; "
                "a client secret must not travel unencrypted"
            )
            raise SettingsError(msg)

    def _require(self, names: tuple[str, ...], because: str) -> None:
        missing = [name for name in names if not _is_given(getattr(self, name))]
        if missing:
            msg = f"kafka.security: {because} needs {_named(missing)}, got none"
            raise SettingsError(msg)

    def _reject(self, names: tuple[str, ...], because: str, wanted: str) -> None:
        unused = [name for name in names if getattr(self, name) is not None]
        if unused:
            msg = f"kafka.security: {_named(unused)} would have no effect with {because}; remove it or use {wanted}"
            raise SettingsError(msg)


def _is_given(value: object) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _named(names: list[str]) -> str:
    return ", ".join(f"{name} (SIDESTREAM_KAFKA__SECURITY__{name.upper()})" for name in names)
