"""Reconciling with a dump: what is compared, what is refused, and that the topic matches the dump in the end."""

import gzip
import io
import sys

import pytest

from sidestream.models.records import CatalogItem
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import DataError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.operate.reconcile import apply_plan, make_plan, read_dump, read_stored
from sidestream.streams.operate.reconcile.dump import stored_of
from sidestream.streams.operate.reconcile.plan import refuse_large

NOW_MS = 1_700_000_000_000
THEN = NOW_MS - 1_000
LIMITS = Limits()


def item(item_id, at=NOW_MS, **facts):
    return CatalogItem(item_id=item_id, at=at, kind="track", **facts)


def written(path, items):
    path.write_bytes(b"".join(one.to_json() + b"\n" for one in items))
    return path


def checked(path):
    return read_dump(path, LIMITS, NOW_MS)


def stored(*items):
    return {one.item_id: stored_of(one) for one in items}


def test_plan_has_new_changed_and_absent_items(tmp_path):
    dump = checked(written(tmp_path / "d", [item("same", at=NOW_MS - 5), item("new"), item("changed", title="b")]))
    have = stored(item("same", at=NOW_MS - 9), item("changed", at=NOW_MS - 9, title="a"), item("gone", at=NOW_MS - 9))
    plan = make_plan(dump, have)
    assert plan.upserts == {"new", "changed"}
    assert plan.removals == ("gone",)
    assert plan.counts == {
        "in_dump": 3,
        "in_topic": 3,
        "unchanged": 1,
        "new": 1,
        "changed": 1,
        "newer_in_topic": 0,
        "removed": 1,
    }


def test_updates_newer_than_the_dump_stay(tmp_path):
    dump = checked(written(tmp_path / "d", [item("a", at=THEN + 100, title="old"), item("b", at=THEN + 200)]))
    have = stored(
        item("a", at=THEN + 150, title="newer"),
        item("b", at=THEN + 150),
        item("late", at=THEN + 201),
        item("gone", at=THEN + 200),
    )
    plan = make_plan(dump, have)
    assert (plan.upserts, plan.removals) == (frozenset(), ("gone",))
    assert plan.counts["newer_in_topic"] == 2
    assert make_plan(dump, have, taken_at=THEN + 199).removals == ()
    assert make_plan(dump, have, taken_at=THEN + 201).removals == ("gone", "late")


def test_an_unreadable_stored_value_is_replaced_or_removed(tmp_path):
    dump = checked(written(tmp_path / "d", [item("a")]))
    unreadable = {name: type(stored_of(item("x")))(None, -1) for name in ("a", "b")}
    plan = make_plan(dump, unreadable)
    assert (plan.upserts, plan.removals) == ({"a"}, ("b",))


GOOD = item("good").to_json()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"{broken", "line 2: not_json"),
        (GOOD[:-9], "line 2: not_json"),
        (b"\xff\xfe", "line 2: not_json"),
        (b'{"at":1,"kind":"track"}', "line 2: missing_field"),
        (b'{"item_id":"x","at":1,"removed":true}', "line 2: missing_field"),
        (b'{"item_id":"","at":1,"kind":"track"}', "line 2: key_mismatch"),
        (b'{"item_id":"x","at":"1","kind":"track"}', "line 2: wrong_type"),
        (b'{"item_id":"x","at":1700000000000,"kind":"radio"}', "line 2: bad_value"),
        (b'{"item_id":"x","at":1,"kind":"track","views":{"a":[NaN]}}', "line 2: not_json"),
        (b'{"item_id":"x","at":%d,"kind":"track"}' % (NOW_MS + 10**9), "line 2: absurd_time"),
        (b'{"item_id":"x","at":1700000000,"kind":"track"}', "line 2: absurd_time: at: 1700000000 looks like seconds"),
        (b'{"item_id":"x","at":1,"kind":"track","title":"%s"}' % (b"x" * 300_000), "line 2: oversize"),
        (GOOD, "line 2: item 'good' is already in line 1"),
    ],
)
def test_a_bad_line_refuses_the_whole_dump_by_its_number(tmp_path, line, named):
    path = tmp_path / "dump.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + item("last").to_json())
    with pytest.raises(DataError, match="1 bad lines, so nothing was changed") as caught:
        checked(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_dump_may_come_in_any_form(tmp_path, monkeypatch):
    items = [item("a"), item("b")]
    lines = b"\n\n".join(one.to_json() for one in items)
    array = b"[\n" + b",\n".join(one.to_json() for one in items) + b"]"
    for data in (lines, b"\xef\xbb\xbf" + lines, gzip.compress(array), array):
        (tmp_path / "d").write_bytes(data)
        dump = checked(tmp_path / "d")
        assert list(dump.lines()) == items
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        dump = checked("-")
        assert list(dump.lines()) == items


def test_many_bad_lines_are_named_up_to_twenty(tmp_path):
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"nonsense\n" * 50)
    with pytest.raises(DataError, match=r"50 bad lines.*line 20: .*and 30 more") as caught:
        checked(path)
    assert "line 21" not in str(caught.value)


def test_a_dump_that_changes_while_it_is_read_is_refused(tmp_path):
    path = written(tmp_path / "d", [item("a"), item("b")])
    dump = checked(path)
    written(path, [item("a"), item("b", title="another")])
    with pytest.raises(DataError, match="d:2: changed during the run"):
        list(dump.lines())


def test_an_empty_or_halved_dump_is_refused_without_force(tmp_path):
    have = stored(*(item(f"i{n}", at=THEN + 1) for n in range(100)))
    for count, ok in ((0, False), (50, False), (95, True)):
        plan = make_plan(
            checked(written(tmp_path / "d", [item(f"i{n}") for n in range(count)])), have, taken_at=THEN + 5
        )
        assert len(plan.removals) == 100 - count
        if ok:
            refuse_large(plan, 5.0)
        else:
            with pytest.raises(DataError, match=f"would remove {100 - count} of 100 items, .*--force"):
                refuse_large(plan, 5.0)


@pytest.mark.broker
def test_the_topic_matches_the_dump_even_after_an_interrupted_run(kafka, make_topics, tmp_path):
    topics = make_topics()
    prefix = topics.listens.name.removesuffix("listen-events.v1")
    settings = TopicSettings(prefix=prefix, user_partitions=4, item_partitions=2)
    assert build_topics(settings).catalog_items == topics.catalog_items
    clients = Clients(kafka.kafka)
    dump = checked(
        written(tmp_path / "d", [item(f"i{n}", at=THEN + 50, title="new" if n < 40 else "") for n in range(60)])
    )

    def plan():
        return make_plan(dump, read_stored(clients, topics.catalog_items))

    with SidestreamClient(kafka.kafka, settings) as client:
        for n in range(20, 80):
            client.publish_item(item(f"i{n}", at=THEN + 40))
        client.publish_item(item("late", at=THEN + 51))
        client.flush()
        first = plan()
        assert first.counts == {
            "in_dump": 60,
            "in_topic": 61,
            "unchanged": 20,
            "new": 20,
            "changed": 20,
            "newer_in_topic": 1,
            "removed": 20,
        }
        # Cut short after some of it.
        for one in list(dump.lines())[:10]:
            client.publish_item(one)
        client.remove_item("i79")
        client.flush()
        second = plan()
        assert (second.counts["new"], second.counts["changed"], second.counts["removed"]) == (10, 20, 19)
        apply_plan(client, dump, second)
    assert plan().is_empty
    found = read_stored(clients, topics.catalog_items)
    assert found.keys() == {*dump.items, "late"}
    assert {name: found[name].digest for name in dump.items} == {n: one.digest for n, one in dump.items.items()}
