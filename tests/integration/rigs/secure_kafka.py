"""A Kafka that requires TLS and SASL, with authorities and certificates made by openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from sidestream.streams.broker import BrokerSettings, RunningBroker, start_broker
from sidestream.streams.broker.jars import kafka_files
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.security import SecuritySettings

USER = "alice"
SECRETS = {
    "SCRAM-SHA-256": "hush-scram-256",
    "SCRAM-SHA-512": 'hush, scram=512 "quoted" ü',
    "PLAIN": "hush-plain",
}
KEY_PASSWORD = "hush-key"
JAAS = "org.apache.kafka.common.security"
LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller_port},%(open)s,%(sasl)s,%(mutual)s
advertised.listeners=PLAINTEXT://127.0.0.1:${port},%(open)s,%(sasl)s,%(mutual)s
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OPEN:SASL_PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location=%(keystore)s
ssl.truststore.type=PEM
ssl.truststore.location=%(truststore)s
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, a broker named localhost alone, a client with its key encrypted, and a stranger."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / f"{name}.pem"


def make_certificates(folder: Path) -> Certificates:
    """Make them; None without openssl."""
    made = Certificates(folder)
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", made.ca_key, "-out", made.ca, "-subj", "/CN=Test authority", *_DAYS)
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", made.x_key, "-out", made.stranger, "-subj", "/CN=Stranger", *_DAYS)
    for name in ("broker", "client"):
        key, request = folder / f"{name}_key.pem", folder / f"{name}.csr"
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        names = folder / f"{name}.cnf"
        names.write_text("subjectAltName=DNS:localhost\n" if name == "broker" else "subjectAltName=DNS:client\n")
        signed = ["-CA", made.ca, "-CAkey", made.ca_key, "-CAcreateserial", "-extfile", names]
        _openssl("x509", "-req", "-in", request, *signed, "-out", folder / f"{name}.pem", *_DAYS)
    locked = ["-v2", "aes-256-cbc", "-passout", f"pass:{KEY_PASSWORD}"]
    _openssl("pkcs8", "-topk8", "-in", made.client_key, "-out", made.client_locked_key, *locked)
    made.broker_keystore.write_text(made.broker_key.read_text() + made.broker.read_text() + made.ca.read_text())
    return made


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
_DAYS = ("-days", "2")


def has_openssl() -> bool:
    return shutil.which("openssl") is not None


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class SecureKafka:
    """A node with four listeners: PLAINTEXT for administration, SASL_PLAINTEXT, SASL_SSL, and mutual TLS."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.certificates = certificates
        self.ports = dict(zip(("open", "sasl", "mutual"), free_ports(3), strict=True))
        settings = BrokerSettings(kind="kafka", port=0, data_dir=folder / "data", kafka_files=self._files(folder))
        self.keeper: RunningBroker = start_broker(settings)
        try:
            self._add_users()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.keeper.stop()

    def at(self, listener: str, host: str = "localhost", **security: object) -> KafkaSettings:
        """Client settings for a listener."""
        return KafkaSettings(bootstrap=f"{host}:{self.ports[listener]}", security=SecuritySettings(**security))

    def scram(self, **change: object) -> KafkaSettings:
        """Client settings for TLS and SCRAM-SHA-512."""
        security = {
            "protocol": "SASL_SSL",
            "mechanism": "SCRAM-SHA-512",
            "username": USER,
            "password": SECRETS["SCRAM-SHA-512"],
            "ca_file": self.certificates.ca,
        }
        return self.at("sasl", **(security | change))

    def _files(self, folder: Path) -> Path:
        files = folder / "files"
        shutil.copytree(kafka_files(BrokerSettings()), files)
        listeners = {name: f"{name.upper()}://localhost:{port}" for name, port in self.ports.items()}
        text = LISTENERS % {
            **listeners,
            "keystore": self.certificates.broker_keystore,
            "truststore": self.certificates.ca,
        }
        for listener in ("open", "sasl"):
            plain = f'username="{USER}" password="{SECRETS["PLAIN"]}" user_{USER}="{SECRETS["PLAIN"]}"'
            for mechanism, module in (
                ("scram-sha-256", f"{JAAS}.scram.ScramLoginModule required;"),
                ("scram-sha-512", f"{JAAS}.scram.ScramLoginModule required;"),
                ("plain", f"{JAAS}.plain.PlainLoginModule required {plain};"),
                # Kafka's own unsecured tokens, made for tests: no signature, but subject and expiry are looked at.
                (
                    "oauthbearer",
                    f'{JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="x";',
                ),
            ):
                text += f"listener.name.{listener}.{mechanism}.sasl.jaas.config={module}\n"
        # The later of two equal names wins in a properties file.
        with (files / "server.properties").open("a") as properties:
            properties.write(text)
        return files

    def _add_users(self) -> None:
        admin = Clients(self.keeper.kafka).admin()
        try:
            for name in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                # Kafka takes one change of a user in a request.
                user = UserScramCredentialUpsertion(USER, ScramMechanism[name.replace("-", "_")], SECRETS[name])
                refused = admin.alter_user_scram_credentials([user])
                assert not any(refused.values()), refused
        finally:
            admin.close()
