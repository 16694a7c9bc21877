"""TLS context of all clients: the trusted authorities and the client certificate."""

import ssl
from pathlib import Path

from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.security.settings import SecuritySettings


def tls_context(settings: SecuritySettings) -> ssl.SSLContext:
    """Build the TLS context from the certificate files.

    Args:
        settings: Files, and whether the broker's certificate must match its host name.

    Returns:
        A context for client connections; the broker's certificate is always verified. Safe to share between threads.

    Raises:
        SettingsError: A file cannot be read or has the wrong content, or the key does not match the certificate.
    """
    if settings.ca_file is None:
        context = ssl.create_default_context()
    else:
        # Without the system's authorities: they must not vouch for a broker that has its own authority.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        add_authorities(context, settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.check_hostname
    if settings.client_cert_file is not None:
        _load_client_certificate(context, settings)
    return context


def add_authorities(context: ssl.SSLContext, ca_file: Path) -> None:
    """Trust the certificate authorities of a file, in addition to those already trusted.

    Args:
        context: Context to change.
        ca_file: PEM file.

    Raises:
        SettingsError: The file cannot be read or holds no certificate.
    """
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        msg = f"kafka.security.ca_file {ca_file}: expected PEM certificates of authorities, got none ({_reason(error)})"
        raise SettingsError(msg) from error
    except OSError as error:
        msg = f"kafka.security.ca_file {ca_file}: expected a file that we may read: {error.strerror}"
        raise SettingsError(msg) from error


def _load_client_certificate(context: ssl.SSLContext, settings: SecuritySettings) -> None:
    certificate, key = settings.client_cert_file, settings.client_key_file
    files = f"kafka.security.client_cert_file {certificate}"
    if key is not None:
        files += f", client_key_file {key}"
    secret = settings.client_key_password.get_secret_value() if settings.client_key_password else ""
    if certificate is None:
        return
    try:
        # Always pass a password: without one OpenSSL would prompt for it on the terminal and block.
        context.load_cert_chain(certificate, key, password=lambda: secret)
    except ssl.SSLError as error:
        hint = "check client_key_password" if secret else "an encrypted key needs client_key_password"
        msg = f"{files}: expected a PEM certificate and its key ({_reason(error)}); {hint}"
        raise SettingsError(msg) from error
    except OSError as error:
        msg = f"{files}: expected files that we may read: {error.strerror}"
        raise SettingsError(msg) from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
