import re

import pytest
from pydantic import SecretStr, ValidationError

from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.security import SecuritySettings
from sidestream.streams.settings import (
    MASK,
    Settings,
    flags_of,
    given_secrets,
    load_settings,
    secret_names,
    walk_settings,
)

SCRAM = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "u", "password": "hush"}
OAUTH = {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}
ENDPOINT = OAUTH | {"token_url": "https://id.test/t", "token_client_id": "c", "token_client_secret": "hush"}


@pytest.mark.parametrize(
    "whole",
    [
        {},
        {"protocol": "SSL"},
        {"protocol": "SSL", "ca_file": "ca", "check_hostname": False, "client_cert_file": "c", "client_key_file": "k"},
        SCRAM,
        SCRAM | {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN"},
        SCRAM | {"ca_file": "ca", "client_cert_file": "both in one"},
        OAUTH | {"token_file": "t"},
        ENDPOINT,
        ENDPOINT | {"token_url": "http://localhost:8080/t", "token_scope": "kafka"},
    ],
)
def test_complete_combinations_are_accepted(whole):
    SecuritySettings(**whole)


@pytest.mark.parametrize(
    ("half", "words"),
    [
        ({"protocol": "SASL_SSL"}, r"needs kafka\.security\.mechanism"),
        (
            SCRAM | {"password": None},
            r"SCRAM-SHA-512 needs password \(SIDESTREAM_KAFKA__SECURITY__PASSWORD\), got none",
        ),
        (SCRAM | {"password": ""}, "needs password"),
        (SCRAM | {"username": None, "password": None}, "needs username .*, password "),
        (SCRAM | {"protocol": "SSL"}, r"mechanism .*, username .*, password .* no effect with protocol=SSL"),
        (
            {"password": "hush"},
            r"password .* no effect with protocol=PLAINTEXT; remove it or use SASL_PLAINTEXT or SASL",
        ),
        ({"ca_file": "ca"}, r"ca_file .* no effect with protocol=PLAINTEXT; remove it or use SSL or SASL_SSL"),
        (SCRAM | {"protocol": "SASL_PLAINTEXT", "ca_file": "ca"}, "ca_file .* no effect with protocol=SASL_PLAINTEXT"),
        ({"check_hostname": False}, "check_hostname=false has no effect"),
        ({"protocol": "SSL", "client_key_file": "k"}, "client key needs client_cert_file"),
        ({"protocol": "SSL", "client_key_password": "hush"}, "client key needs client_cert_file"),
        (SCRAM | {"token_file": "t"}, "token_file .* no effect with mechanism=SCRAM-SHA-512"),
        (OAUTH, "token_file, or token_url with token_client_id and token_client_secret"),
        (OAUTH | {"token_file": "t", "username": "u"}, "username .* no effect with mechanism=OAUTHBEARER"),
        (ENDPOINT | {"token_file": "t"}, "token_url .* no effect with token_file"),
        (ENDPOINT | {"token_client_secret": None}, "token_url needs token_client_secret"),
        (ENDPOINT | {"token_url": "http://id.test/t"}, "expected https"),
        (ENDPOINT | {"token_url": "https://u:hush@id.test/t"}, "must hold no user or password"),
    ],
)
def test_incomplete_security_is_rejected_by_name_and_without_the_secret(half, words):
    with pytest.raises(SettingsError, match=words) as caught:
        SecuritySettings(**half)
    assert "hush" not in str(caught.value)
    flags = {f"kafka.security.{name}": value for name, value in half.items()}
    with pytest.raises(SettingsError, match=words):
        load_settings(flags, env={})


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka.security.password": 4711},
        {"kafka.security.pasword": "hush-4711"},
        {"kafka.security": {"protocol": "TLS", "password": "hush-4711"}},
        {"kafka.security.password": ["hush-4711"], "kafka.security.protocol": "SASL_SSL"},
    ],
)
def test_no_error_or_cause_contains_a_secret(wrong):
    with pytest.raises(SettingsError) as caught:
        load_settings(wrong, env={})
    error = caught.value
    assert isinstance(error.__cause__, ValidationError)
    assert "4711" not in str(error.__cause__) + str(error)


def test_the_environment_can_set_all_fields_and_the_secret_is_masked():
    env = {f"SIDESTREAM_KAFKA__SECURITY__{name.upper()}": value for name, value in SCRAM.items()}
    settings, origins = load_settings({"kafka.security.ca_file": "ca.pem"}, env=env)
    assert settings.kafka.security.password == SecretStr("hush")
    shown = {name: value for name, value, _ in walk_settings(settings)}
    assert shown["kafka.security.password"] == MASK
    assert origins["kafka.security.password"] == "environment"
    assert "hush" not in repr(settings) + str(settings.kafka) + settings.model_dump_json()


def test_secret_settings_are_found_in_nested_groups():
    assert set(secret_names()) >= {
        "kafka.security.password",
        "kafka.security.client_key_password",
        "kafka.security.token_client_secret",
    }
    assert given_secrets({"kafka": {"security": {"password": "x", "username": "u"}}}) == ["kafka.security.password"]
    assert given_secrets({"kafka.security.username": "u"}) == []


def test_settings_written_as_flags_round_trip():
    settings, _ = load_settings(
        {f"kafka.security.{k}": v for k, v in SCRAM.items()} | {"kafka.bootstrap": "h:1"}, env={}
    )
    flags = flags_of(settings.kafka, "kafka.")
    assert set(flags) == {"kafka.bootstrap", *(f"kafka.security.{name}" for name in SCRAM)}
    assert load_settings(flags, env={})[0].kafka == settings.kafka
    assert flags_of(Settings().kafka, "kafka.") == {}


def test_every_setting_has_an_environment_variable():
    with pytest.raises(SettingsError) as caught:
        SecuritySettings(**SCRAM | {"username": None})
    (name,) = re.findall(r"SIDESTREAM_\w+", str(caught.value))
    assert load_settings(env={name: "u", **{f"SIDESTREAM_KAFKA__SECURITY__{k.upper()}": v for k, v in SCRAM.items()}})
