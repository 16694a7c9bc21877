"""Unusable certificate files are refused by name, before any connection."""

import pytest

from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.security import Credentials, SecuritySettings
from tests.integration.rigs.secure_kafka import KEY_PASSWORD, has_openssl, make_certificates


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    if not has_openssl():
        pytest.skip("no openssl to make certificates with")
    made = make_certificates(tmp_path_factory.mktemp("certificates"))
    (made.folder / "nonsense.pem").write_text("-----BEGIN nothing\n")
    (made.folder / "together.pem").write_text(made.client_key.read_text() + made.client.read_text())
    return made


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "password"),
    [
        ("ca", None, None, None),
        ("ca", "client", "client_key", None),
        ("ca", "client", "client_key", "not needed"),
        ("ca", "client", "client_locked_key", KEY_PASSWORD),
        ("ca", "together", None, None),
    ],
)
def test_valid_files_are_accepted(files, ca, certificate, key, password):
    Credentials(security(files, ca, certificate, key, password))


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "password", "words"),
    [
        ("missing", None, None, None, r"ca_file .*missing\.pem: .*No such file"),
        ("nonsense", None, None, None, r"ca_file .*nonsense\.pem: expected PEM"),
        ("ca", "missing", "client_key", None, r"client_cert_file .*missing\.pem.*No such file"),
        ("ca", "client", "missing", None, r"client_key_file .*missing\.pem: .*No such file"),
        ("ca", "client", None, None, r"client_cert_file .*client\.pem"),
        ("ca", "client", "broker_key", None, "key values mismatch"),
        ("ca", "client", "client_locked_key", None, "an encrypted key needs client_key_password"),
        ("ca", "client", "client_locked_key", "wrong-hush", "check client_key_password"),
        ("ca", "nonsense", "client_key", None, r"client_cert_file .*nonsense\.pem"),
    ],
)
def test_invalid_files_are_refused_by_name(files, ca, certificate, key, password, words):
    with pytest.raises(SettingsError, match=words) as caught:
        Credentials(security(files, ca, certificate, key, password))
    assert "hush" not in str(caught.value)


def security(files, ca, certificate, key, password):
    return SecuritySettings(
        protocol="SSL",
        ca_file=getattr(files, ca),
        client_cert_file=certificate and getattr(files, certificate),
        client_key_file=key and getattr(files, key),
        client_key_password=password,
    )
