"""The partition of a key: as other clients choose it, and by one formula."""

from pathlib import Path

import pytest

from sidestream.streams.contracts import partitioner

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("key", "partition"), [("user-1", 4), ("user-2", 0), ("jürgen", 7), ("漢字", 1), ("a", 4), ("u42", 7)]
)
def test_the_rule_gives_the_partitions_that_other_clients_choose(key, partition):
    """Of eight; kafkajs 2.2.4 and Java's producer come to the same."""
    assert partitioner.partition_of(key.encode(), 8) == partition
    assert f"`{key}` → {partition}" in (ROOT / "deploy/README.md").read_text()


def test_no_other_file_has_the_formula():
    owner = Path(partitioner.__file__).resolve()
    packages = ("streams", "models", "tokenizer", "tests/bench")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert [path for path in files if "import murmur2" in path.read_text() and path != owner] == []
