"""`sidestream topics`: make, list and describe the topics, and check that a Kafka agrees with the contract."""

from dataclasses import asdict
from typing import Annotated

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.output import print_json, print_rows, say
from sidestream.streams.contracts.asyncapi import asyncapi as describe
from sidestream.streams.contracts.topics import build_topics, check_topics, create_topics
from sidestream.streams.kafka.admin import KafkaTopicAdmin

app = typer.Typer(no_args_is_help=True, help="Create, list, check and describe the topics.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(ctx: typer.Context) -> None:
    """Create the topics that are missing; existing ones are never changed."""
    settings = settings_of(ctx)
    admin = KafkaTopicAdmin(clients_of(settings))
    try:
        made = create_topics(admin, build_topics(settings.topics), settings.topics.replication_factor)
    finally:
        admin.close()
    for name in made:
        say(f"created {name}")
    if not made:
        say("all topics are there")


@app.command("list")
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
    columns = ["topic", "key", "partitions", "compacted", "found_partitions", "found_policy"]
    print_rows(rows, columns, as_json=as_json)


@app.command()
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Compare the Kafka with the contract; ends 1 when anything differs."""
    settings = settings_of(ctx)
    admin = KafkaTopicAdmin(clients_of(settings))
    try:
        problems = check_topics(admin, build_topics(settings.topics))
    finally:
        admin.close()
    rows = [asdict(problem) for problem in problems]
    if rows or as_json:
        print_rows(rows, ["topic", "code", "detail", "action"], as_json=as_json)
    else:
        say("all topics fit the contract")
    if problems:
        raise typer.Exit(1)


@app.command()
def asyncapi(ctx: typer.Context) -> None:
    """Print the topics and their values as an AsyncAPI 3.0 document (JSON); asks no Kafka."""
    print_json(describe(build_topics(settings_of(ctx).topics)))
