"""`tokenizer generations`: what serves is listed, ordered or not."""

from sidestream.models.records import Generation, GenerationReport
from sidestream.streams.cli.tokenizers.generations import generation_rows
from sidestream.streams.generations.orders import Orders


def report(orders, worker, serving):
    said = GenerationReport(version=serving or "v1", progress="ready", worker=worker, serving=serving, at=1)
    orders.report(said.key.encode(), said.to_json())


def order(orders, version, phase, offset):
    said = Generation(version=version, pair=f"pair-{version}", phase=phase, at=5)
    orders.order(version.encode(), said.to_json(), offset)


def test_a_version_that_serves_is_listed_though_no_rollout_was_ever_ordered():
    orders = Orders()
    assert generation_rows(orders, 4) == []
    report(orders, "b", "v1")
    report(orders, "a", "v1")
    report(orders, "tokenizer-only", None)
    (row,) = generation_rows(orders, 4)
    assert (row["version"], row["phase"], row["workers"], row["pair"]) == ("v1", "active", "a, b", None)


def test_ordered_versions_say_how_far_they_are_and_one_that_was_not_ordered_comes_first():
    orders = Orders()
    report(orders, "a", "v2")
    report(orders, "stray", "v0")
    order(orders, "v1", "standby", 0)
    order(orders, "v2", "active", 1)
    held = GenerationReport(version="v2", progress="held", partition=3, at=1)
    orders.report(held.key.encode(), held.to_json())
    rows = {row["version"]: row for row in generation_rows(orders, 4)}
    assert list(rows) == ["v0", "v1", "v2"]
    assert (rows["v0"]["phase"], rows["v0"]["workers"]) == ("unordered", "stray")
    assert (rows["v2"]["phase"], rows["v2"]["partitions"], rows["v2"]["workers"]) == ("active", "1/4", "a")
    assert rows["v1"]["workers"] == ""
