"""The TLS context of all clients: whom we trust, and the certificate by which the broker knows us."""

import ssl
from pathlib import Path

from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.security.settings import SecuritySettings


def tls_context(settings: SecuritySettings) -> ssl.SSLContext:
    """Read the certificates.

    Args:
        settings: Which files, and whether the broker's certificate must name its host.

    Returns:
        A context for client connections; the broker's certificate is always verified. Safe to share between threads.

    Raises:
        SettingsError: A file cannot be read, is not what it should be, or the key does not fit.
    """
    if settings.ca_file is None:
        context = ssl.create_default_context()
    else:
        # The system's authorities are left out: they have no say about a broker that has its own one.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust(context, settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.check_hostname
    if settings.client_cert_file is not None:
        _show_certificate(context, settings)
    return context


def trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Let a context trust the authorities of a file, besides those that it trusts already.

    Args:
        context: The context.
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


def _show_certificate(context: ssl.SSLContext, settings: SecuritySettings) -> None:
    certificate, key = settings.client_cert_file, settings.client_key_file
    files = f"kafka.security.client_cert_file {certificate}"
    if key is not None:
        files += f", client_key_file {key}"
    secret = settings.client_key_password.get_secret_value() if settings.client_key_password else ""
    if certificate is None:
        return
    try:
        # A password is always given: without one OpenSSL would ask the terminal for it, and wait.
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
