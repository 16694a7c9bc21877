"""An earlier release of this repository, whose workers run beside those of this one."""

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from tests.bench.support.rig import ROOT

# The last commit of release 0.1.0.
RELEASE_BEFORE = "3e2131bf4ff4a13f8efaf46d494630141845ef3f"
PACKAGES = ("sidestream", "streams", "models", "tokenizer", "src")


class MissingCommit(Exception):
    """The commit is not part of this checkout."""


def export(commit: str, folder: Path) -> Path:
    """Write the packages of a commit into a folder.

    Args:
        commit: Any name of it.
        folder: Empty, or not there yet.

    Returns:
        The folder to import them from.

    Raises:
        MissingCommit: This checkout does not have it.
    """
    answer = subprocess.run(
        ["git", "archive", "--format=tar", commit, "--", *PACKAGES], cwd=ROOT, capture_output=True, check=False
    )
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip()
        msg = (
            f"expected the commit {commit} in this checkout, got {said!r}; fetch the whole history (git fetch "
            "--unshallow), name another commit (--before COMMIT), or leave the upgrades out (--upgrades 0)"
        )
        raise MissingCommit(msg)
    with tarfile.open(fileobj=BytesIO(answer.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder / "src"


# Run by the other release: it makes its own topics.
_CREATE_TOPICS = """
import sys
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import Clients, KafkaSettings
bootstrap, prefix, users, items = sys.argv[1:]
admin = KafkaTopicAdmin(Clients(KafkaSettings(bootstrap=bootstrap)))
topics = build_topics(TopicSettings(prefix=prefix, user_partitions=int(users), item_partitions=int(items)))
create_topics(admin, topics)
admin.close()
"""


def create_topics(sources: Path, bootstrap: str, prefix: str, user_partitions: int, item_partitions: int) -> None:
    """Have a release make the topics of an installation.

    Args:
        sources: What `export` returned.
        bootstrap: Address of Kafka.
        prefix: Of the topics.
        user_partitions: Partitions of the topics keyed by user.
        item_partitions: Partitions of the topics keyed by item.
    """
    arguments = [bootstrap, prefix, str(user_partitions), str(item_partitions)]
    subprocess.run([sys.executable, "-c", _CREATE_TOPICS, *arguments], cwd=sources, check=True, timeout=120)
