"""Write the AsyncAPI document in deploy/, and find out whether it is current: `python -m tests.repository.contract`."""

from pathlib import Path

import yaml

from sidestream.streams.contracts.asyncapi import asyncapi
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics

FILE = Path(__file__).resolve().parents[2] / "deploy" / "asyncapi.yaml"


def written():
    """The document for the default names and sizes, as it stands in the file."""
    document = asyncapi(build_topics(TopicSettings()))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by `make readme`; `sidestream topics asyncapi` prints it for other prefixes and sizes.\n{text}"


if __name__ == "__main__":
    FILE.write_text(written())
