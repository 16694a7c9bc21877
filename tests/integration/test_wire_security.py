"""Every client over TLS and SASL against a Kafka that requires them, and the errors if it refuses a client."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import faust
import pytest
from kafka import TopicPartition

from sidestream.streams.broker import BrokerSettings, RunningBroker, broker_status
from sidestream.streams.broker.jars import ensure_jars, require_kafka
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.settings import env_name, flags_of
from sidestream.streams.worker.process import WorkerProcess
from tests.integration.rigs.secure_kafka import KEY_PASSWORD, SECRETS, USER, SecureKafka, has_openssl, make_certificates
from tests.integration.rigs.session_rig import ROOT, Rig, wait_until

pytestmark = pytest.mark.broker

DEADLINE_S = 30.0
PASSWORD = "kafka.security.password"


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    if not has_openssl():
        pytest.skip("no openssl to make certificates with")
    try:
        require_kafka(BrokerSettings(kind="kafka"))
        ensure_jars(BrokerSettings(kind="kafka"))
    except BrokerError as error:
        pytest.skip(f"no Apache Kafka for tests: {error}")
    folder = tmp_path_factory.mktemp("secure")
    broker = SecureKafka(folder, make_certificates(folder))
    yield broker
    broker.stop()


@pytest.fixture
def token_file(tmp_path):
    return write_token(tmp_path / "token", USER)


def write_token(file, subject, life_s=300):
    """Kafka's unsecured token for tests: a JWS without a signature."""
    claims = {"sub": subject, "iat": int(time.time()) - 1, "exp": int(time.time()) + life_s}
    parts = ({"alg": "none"}, claims)
    file.write_text(
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + ".\n"
    )
    return file


def make_topics(kafka, prefix):
    topics = build_topics(TopicSettings(prefix=prefix, user_partitions=2, item_partitions=1))
    admin = KafkaTopicAdmin(Clients(kafka))
    try:
        create_topics(admin, topics)
    finally:
        admin.close()
    return topics


@pytest.fixture(
    params=["scram-256", "scram-512", "plain", "oauthbearer", "unencrypted scram-512", "client certificate"]
)
def let_in(request, secure, token_file):
    """Client settings for each authentication method."""
    if request.param == "client certificate":
        files = secure.certificates
        return secure.at(
            "mutual",
            protocol="SSL",
            ca_file=files.ca,
            client_cert_file=files.client,
            client_key_file=files.client_locked_key,
            client_key_password=KEY_PASSWORD,
        )
    mechanism = {"scram-256": "SCRAM-SHA-256", "plain": "PLAIN", "oauthbearer": "OAUTHBEARER"}.get(
        request.param, "SCRAM-SHA-512"
    )
    who = {"username": USER, "password": SECRETS[mechanism]} if mechanism in SECRETS else {"token_file": token_file}
    if request.param.startswith("unencrypted"):
        return secure.at("open", protocol="SASL_PLAINTEXT", mechanism=mechanism, **who)
    return secure.at("sasl", protocol="SASL_SSL", mechanism=mechanism, ca_file=secure.certificates.ca, **who)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_every_client_library_connects_to_every_listener(let_in, topic_prefix, tmp_path):
    topics = await asyncio.to_thread(make_topics, let_in, topic_prefix())
    clients, source, target = Clients(let_in), topics.listens.name, topics.candidates.name
    app = faust.App(source, **clients.faust_options(), store="memory://", web_enabled=False, datadir=str(tmp_path))
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    to = app.topic(target, **raw)

    @app.agent(app.topic(source, **raw))
    async def copy(stream):
        async for event in stream.events():
            await to.send(key=event.key, value=event.value)

    producer, consumer = clients.async_producer(transactional_id=source), clients.async_consumer(target)
    await app.start()
    try:
        await producer.start()
        await consumer.start()
        async with producer.transaction():
            await producer.send(source, b"aiokafka", key=b"k")
        record = await asyncio.wait_for(consumer.getone(), DEADLINE_S)
        assert record.value == b"aiokafka"
    finally:
        await consumer.stop()
        await producer.stop()
        await app.stop()
    assert await asyncio.to_thread(read_back_with_kafka_python, clients, topics.session_starts.name) == b"kafka-python"


def read_back_with_kafka_python(clients, topic):
    producer, consumer = clients.producer(), clients.consumer()
    try:
        place = producer.send(topic, b"kafka-python", key=b"k").get(timeout=DEADLINE_S)
        consumer.assign([TopicPartition(topic, place.partition)])
        found = wait_until(lambda: consumer.poll(timeout_ms=200), DEADLINE_S, "record")
        return next(iter(found.values()))[0].value
    finally:
        producer.close()
        consumer.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wrong-hush"}, r"refuses SASL_SSL SCRAM-SHA-512 as 'alice': .*check kafka\.security"),
        ({"username": "nobody"}, r"refuses SASL_SSL SCRAM-SHA-512 as 'nobody'"),
        ({"mechanism": "PLAIN", "password": "wrong-hush"}, r"refuses SASL_SSL PLAIN as 'alice'"),
        ({"ca_file": "stranger"}, r"not trusted: .*kafka\.security\.ca_file"),
        ({"ca_file": None}, r"not trusted: .*kafka\.security\.ca_file"),
    ],
)
def test_a_refusal_is_reported_at_once_by_every_client(secure, change, words):
    if change.get("ca_file"):
        change = {"ca_file": getattr(secure.certificates, change["ca_file"])}
    kafka, began_s = secure.scram(**change), time.monotonic()
    with pytest.raises(AccessError, match=words) as caught:
        asyncio.run(Clients(kafka).log_in())
    assert "hush" not in str(caught.value)
    for open_client in (Clients(kafka).admin, Clients(kafka).producer, Clients(kafka).consumer):
        with pytest.raises(AccessError, match=words):
            open_client()
    with SidestreamClient(kafka, TopicSettings()) as client, pytest.raises(AccessError, match=words):
        client.consume_candidates()
    status = broker_status(BrokerSettings(), kafka)
    assert (status.is_running, bool(re.search(words, status.detail))) == (False, True)
    assert time.monotonic() - began_s < 10


def test_the_certificate_must_name_the_host_unless_that_is_switched_off(secure):
    security = secure.scram().security
    elsewhere = secure.at("sasl", "127.0.0.1", **security.model_dump())
    with pytest.raises(AccessError, match=r"not trusted: .*127\.0\.0\.1"):
        asyncio.run(Clients(elsewhere).log_in())
    asyncio.run(Clients(secure.at("sasl", "127.0.0.1", **security.model_dump() | {"check_hostname": False})).log_in())


@pytest.mark.parametrize(
    ("listener", "security"),
    [
        ("sasl", {}),
        ("open", {"protocol": "SSL"}),
        ("mutual", {"protocol": "SSL"}),  # without the certificate that it asks for
    ],
)
def test_a_listener_of_another_protocol_counts_as_no_answer(secure, listener, security):
    if security:
        security["ca_file"] = secure.certificates.ca
    kafka = secure.at(listener, **security)
    with pytest.raises(
        BrokerError, match=f"localhost:{secure.ports[listener]} with {kafka.security.protocol}:"
    ) as caught:
        asyncio.run(Clients(kafka).log_in(3.0))
    assert not isinstance(caught.value, AccessError)


def test_a_token_is_checked_when_it_is_used(secure, tmp_path):
    file = write_token(tmp_path / "token", USER, life_s=-60)
    kafka = secure.at(
        "sasl", protocol="SASL_SSL", mechanism="OAUTHBEARER", token_file=file, ca_file=secure.certificates.ca
    )
    clients = Clients(kafka)
    with pytest.raises(AccessError, match=r"refuses SASL_SSL OAUTHBEARER.*check .*token") as caught:
        asyncio.run(clients.log_in(3.0))
    assert file.read_text().strip() not in str(caught.value)
    file.unlink()
    with pytest.raises(AccessError, match="token_file"):
        asyncio.run(clients.log_in(3.0))
    write_token(file, USER)
    asyncio.run(clients.log_in(3.0))


def secret_free(kafka):
    """Settings of a worker as flags, and its secrets separately."""
    flags = flags_of(kafka, "kafka.")
    return {name: value for name, value in flags.items() if name != PASSWORD}, flags[PASSWORD].get_secret_value()


@pytest.fixture
def rig(secure, topic_prefix, tmp_path):
    made = []

    def make(kafka, **flags):
        topics = make_topics(secure.scram(), topic_prefix())
        security, secret = secret_free(kafka)
        made.append(
            Rig(RunningBroker(kafka, is_ours=False), topics, tmp_path, {PASSWORD: secret}, **(flags | security))
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_worker_runs_over_tls_and_scram_without_leaking_the_secret(secure, rig):
    loop = rig(secure.scram(), **{"log.level": "debug"})
    for number in range(12):
        loop.item(f"i{number}")
    loop.listen("u", "i0", 2_000)
    loop.send(loop.topics.catalog_items, "broken", b"{not json")
    loop.flush()
    loop.start().ready()
    wait_until(lambda: loop.metric("sidestream_catalogue_items") == 12, what="items")
    wait_until(lambda: loop.get("/v1/users/u/state")[0] == 200, what="state")
    loop.session("s1")
    loop.flush()
    answer = loop.answer("s1")
    assert (answer.fallback, len(answer.candidates)) == (None, 10)
    assert loop.letters(loop.topics.catalog_items.name + ".dlq", 1)[0].value == b"{not json"
    secret = loop.secrets[PASSWORD]
    assert secret not in Path(f"/proc/{loop.process.pid}/cmdline").read_bytes().decode()
    assert loop.end() == 0
    text = loop.log.read_text()
    assert text
    assert not [part for part in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]) if part in text]


@pytest.mark.parametrize("fault", ["password", "authority"])
def test_a_worker_with_rejected_credentials_ends_at_once_with_one_line(secure, rig, fault):
    change = {"password": "wrong-hush"} if fault == "password" else {"ca_file": secure.certificates.stranger}
    loop = rig(secure.scram(**change), **{"worker.broker_wait_s": 60})
    # Half of the wait, and time to import everything on a busy machine.
    assert loop.start().process.wait(30) == 1
    text = loop.log.read_text()
    errors = [json.loads(line) for line in text.splitlines() if '"level": "error"' in line]
    assert [line["event"] for line in errors][-1] == "worker ended"
    assert ("refuses SASL_SSL" if fault == "password" else "not trusted") in errors[-1]["reason"]
    assert len(text.splitlines()) <= 4, text
    assert not any(secret in text for secret in ("wrong-hush", SECRETS["SCRAM-SHA-512"]))


def test_a_child_worker_gets_its_secrets_from_the_environment(secure, topic_prefix, tmp_path):
    kafka, prefix = secure.scram(password="wrong-hush"), topic_prefix()
    flags = {**flags_of(kafka, "kafka."), "topics.prefix": prefix, "web.port": 1, "data_dir": str(tmp_path)}
    with WorkerProcess(flags, tmp_path / "worker.log") as worker:
        # For some milliseconds after its start a process has no arguments to show.
        arguments = wait_until(Path(f"/proc/{worker.process.pid}/cmdline").read_bytes, what="arguments").decode()
        assert "kafka.security.username" in arguments
        assert "hush" not in arguments
        assert worker.process.wait(DEADLINE_S) == 1
        assert "refuses SASL_SSL SCRAM-SHA-512 as 'alice'" in " ".join(worker.log_file.read_text().split())
        assert "hush" not in worker.log_file.read_text()


def test_commands_use_tls_and_scram_and_show_no_secret(secure, topic_prefix):
    topics = make_topics(secure.scram(), topic_prefix())
    flags, secret = secret_free(secure.scram())
    command = [sys.executable, "-m", "sidestream.streams.cli.main"]
    for name, value in flags.items():
        command += ["--set", f"{name}={value}"]
    command += ["--set", f"topics.prefix={topics.listens.name.removesuffix('listen-events.v1')}"]

    def call(*arguments):
        env = os.environ | {env_name(PASSWORD): secret, "COLUMNS": "200"}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=env, cwd=ROOT, timeout=60)
        assert secret not in done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert '"found_partitions": 2' in call("topics", "list", "--json")
    assert '"kafka.security.password"' in call("config", "show", "--json", "--changed")
    call("tail", "listen-events.v1", "--idle-s", "0.5")
