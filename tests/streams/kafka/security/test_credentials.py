import logging
import ssl

import pytest
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.broker.start import start_broker
from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.security import Credentials, SecuritySettings
from sidestream.streams.kafka.security.credentials import HiddenStr

SCRAM = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "u", "password": "hush"}


def options(**security):
    credentials = Credentials(SecuritySettings(**security))
    return credentials.aiokafka(), credentials.kafka_python(), credentials.faust().get("broker_credentials")


def test_plaintext_sends_no_credentials():
    aiokafka, kafka_python, faust = options()
    assert aiokafka == kafka_python == {"security_protocol": "PLAINTEXT", "ssl_context": None}
    assert faust is None
    assert "broker_credentials" not in Clients(KafkaSettings(bootstrap="h:1")).faust_options()


def test_tls_uses_one_verifying_context_for_all_clients():
    aiokafka, kafka_python, faust = options(protocol="SSL")
    context = aiokafka["ssl_context"]
    assert kafka_python == aiokafka
    assert isinstance(faust, SSLCredentials)
    assert faust.context is context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    without = options(protocol="SSL", check_hostname=False)[0]["ssl_context"]
    assert (without.verify_mode, without.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_passwords_are_usable_and_masked_where_they_are_printed():
    aiokafka, kafka_python, faust = options(**SCRAM)
    for words in (aiokafka, kafka_python):
        assert (words["sasl_mechanism"], words["sasl_plain_username"]) == ("SCRAM-SHA-512", "u")
        assert words["sasl_plain_password"] == "hush"
        assert words["sasl_plain_password"].encode() == b"hush"
        assert "hush" not in repr(words) + str(words)
    assert isinstance(faust, SASLCredentials)
    assert (faust.protocol.value, faust.mechanism.value, faust.password) == ("SASL_SSL", "SCRAM-SHA-512", "hush")
    assert "hush" not in repr(faust) + repr(vars(faust)) + repr(Credentials(SecuritySettings(**SCRAM)))
    assert "hush" not in repr(HiddenStr("hush"))


def test_without_tls_faust_does_not_encrypt_either():
    faust = options(**SCRAM | {"protocol": "SASL_PLAINTEXT"})[2]
    assert (faust.protocol.value, faust.ssl_context) == ("SASL_PLAINTEXT", None)


def test_all_three_libraries_get_tokens(tmp_path):
    (tmp_path / "t").write_text("abc\n")
    aiokafka, kafka_python, faust = options(
        protocol="SASL_SSL", mechanism="OAUTHBEARER", token_file=str(tmp_path / "t")
    )
    assert kafka_python["sasl_oauth_token_provider"].token() == "abc"
    assert isinstance(faust, OAuthCredentials)
    assert faust.protocol.value == "SASL_SSL"
    assert aiokafka["sasl_mechanism"] == "OAUTHBEARER"


def test_kafka_python_may_log_its_configuration(caplog):
    caplog.set_level(logging.DEBUG, "kafka")
    words = Credentials(SecuritySettings(**SCRAM | {"protocol": "SASL_PLAINTEXT"})).kafka_python()

    def connects_not(**options):
        raise KafkaError

    with pytest.raises(KafkaError):
        KafkaAdminClient(kafka_client=connects_not, **words)
    assert "sasl_plain_password" in caplog.text
    assert "hush" not in caplog.text


def test_local_brokers_have_no_security(tmp_path):
    kafka = KafkaSettings(security=SecuritySettings(protocol="SSL"))
    with pytest.raises(SettingsError, match=r"protocol=SSL needs kafka\.bootstrap"):
        start_broker(BrokerSettings(data_dir=tmp_path), kafka)
