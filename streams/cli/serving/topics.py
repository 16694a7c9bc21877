"""`sidestream topics`: make, list and describe the topics, and check that a Kafka agrees with the contract."""

from dataclasses import asdict

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_json, print_rows, say
from sidestream.streams.contracts.topics import build_topics, check_topics, create_topics, require_topics
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.terminal import Column

COLUMNS = (
    Column("topic", kind="id", priority=0),
    Column("key", priority=4),
    Column("partitions", "wanted", kind="number", priority=2),
    Column("found_partitions", "found", kind="number", priority=1),
    Column("compacted", priority=5),
    Column("found_policy", priority=3),
)
PROBLEM_COLUMNS = (
    Column("topic", kind="id", priority=0),
    Column("code", priority=3, least=17),
    Column("detail", priority=1, least=20),
    Column("action", priority=2, least=20),
)


def create(ctx: typer.Context) -> None:
    """Create the topics that are missing; existing ones never change.

    Exit code 1 if one that exists does not fit the contract.
    """
    settings = settings_of(ctx)
    topics = build_topics(settings.topics)
    admin = KafkaTopicAdmin(clients_of(settings))
    try:
        made = create_topics(admin, topics, settings.topics.replication_factor)
        for name in made:
            say(f"created {name}")
        require_topics(admin, topics)
    finally:
        admin.close()
    if not made:
        say("all topics are there")


def list_topics(ctx: typer.Context, as_json: Json = False) -> None:
    """List the topics of the contract beside what the Kafka has."""
    settings = settings_of(ctx)
    topics = build_topics(settings.topics)
    admin = KafkaTopicAdmin(clients_of(settings))
    try:
        found = admin.describe([spec.name for spec in topics])
    finally:
        admin.close()
    rows = [
        {
            "topic": spec.name,
            "key": spec.key,
            "partitions": spec.partitions,
            "compacted": spec.compacted,
            "found_partitions": found[spec.name].partitions if spec.name in found else None,
            "found_policy": found[spec.name].cleanup_policy if spec.name in found else "missing",
        }
        for spec in topics
    ]
    print_rows(rows, COLUMNS, as_json=as_json)


def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Compare the Kafka with the contract; exit code 1 if anything differs."""
    settings = settings_of(ctx)
    admin = KafkaTopicAdmin(clients_of(settings))
    try:
        problems = check_topics(admin, build_topics(settings.topics))
    finally:
        admin.close()
    rows = [asdict(problem) for problem in problems]
    if rows or as_json:
        print_rows(rows, PROBLEM_COLUMNS, as_json=as_json, as_blocks=True)
    else:
        say("all topics fit the contract")
    if problems:
        raise typer.Exit(1)


def asyncapi(ctx: typer.Context) -> None:
    """Print the topics as an AsyncAPI 3.1 document; needs no Kafka.

    The document is JSON, wherever it is printed.
    """
    from sidestream.streams.contracts.asyncapi import asyncapi as describe  # decoders: not for the other commands

    print_json(describe(build_topics(settings_of(ctx).topics)))
