"""Public API of `sidestream`: lazily loaded names, and recommendations in five lines."""

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import sidestream
from sidestream import Recommender
from sidestream.models.records import CatalogItem
from sidestream.models.settings import EngineSettings
from sidestream.streams.errors import ArtifactError, DataError
from sidestream.streams.generations.pair import load_pair

HEAVY = ("numpy", "pydantic", "faust", "kafka", "onnxruntime")
NOW = 1_704_067_200_000
GENRES = {"jazz": "A quiet jazz trio with piano and brushes", "news": "The day's headlines and what they mean"}


class Clock:
    now = NOW

    def __call__(self):
        return self.now

    def observe(self, at_ms):
        pass


def items(count=12):
    return [
        {
            "item_id": f"{genre}-{number}",
            "kind": "episode",
            "title": f"{genre} {number}",
            "description": words,
            "show": genre,
        }
        for genre, words in GENRES.items()
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def recommender():
    from sidestream.streams.demo.shipped import shipped_pair

    return Recommender.load(shipped_pair(), items())


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, json, sidestream; sidestream.__version__;"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_public_names_are_there_and_others_are_named_in_the_error():
    for name in sidestream.__all__:
        assert getattr(sidestream, name) is not None
        assert name in dir(sidestream)
    assert sidestream.__version__ == version("sidestream")
    with pytest.raises(AttributeError, match=r"no attribute 'Worker'; the public names are Recommender"):
        _ = sidestream.Worker  # type: ignore[attr-defined]


def test_five_lines_recommend_with_titles(recommender):
    found = recommender.recommend(["jazz-1", "jazz-2", "jazz-3"], num_candidates=5)
    assert len(found) == 5
    assert found.fallback is None
    assert found.unknown == ()
    assert [item.rank for item in found] == [0, 1, 2, 3, 4]
    assert all(item.title == item.item_id.replace("-", " ") for item in found)
    assert found[0].score >= found[-1].score
    assert found[:2] == found.items[:2]


def test_unknown_ids_are_reported_and_ignored(recommender):
    known, unknown = ["jazz-1", "jazz-2"], [f"gone-{number}" for number in range(60)]
    for history in (["jazz-1", "gone-0", "jazz-2"], [*unknown, *known], [*known, *unknown]):
        found = recommender.recommend(history)
        assert found.unknown == tuple(item_id for item_id in history if item_id in unknown)
        assert found.items == recommender.recommend(known).items
        assert found.fallback is None


def test_every_item_of_a_long_history_is_excluded_and_familiar(demo_pair):
    recommender = Recommender.load(demo_pair, [*items(60), {"item_id": "other", "kind": "track", "title": "Other"}])
    heard = [f"jazz-{number}" for number in range(50)] + [f"news-{number}" for number in range(60)]
    found = recommender.recommend(heard, num_candidates=200)
    assert {item.item_id for item in found} == {"other", *(f"jazz-{number}" for number in range(50, 60))}
    # Their show is in the oldest part of the history only.
    assert all(item.familiar == (item.item_id != "other") for item in found)
    again = recommender.recommend(heard, num_candidates=200, discovery="familiar")
    assert len(again) == 120
    assert all(item.familiar for item in again)


def test_a_history_is_any_iterable_of_ids(recommender):
    history = ["jazz-1", "jazz-2"]
    for given in (
        tuple(history),
        iter(history),
        (item_id for item_id in history),
        np.array(history),
        dict.fromkeys(history),
    ):
        assert recommender.recommend(given) == recommender.recommend(history)


def test_items_count_as_new_only_where_it_is_known_when_they_came(demo_pair):
    def reserved(**fields):
        recommender = Recommender(
            load_pair(demo_pair, EngineSettings()), [{**i, **fields} for i in items()], clock=Clock()
        )
        found = recommender.recommend(["jazz-1"], num_candidates=10)
        assert [item.reserved for item in found] == [
            c.reserved for c in recommender.candidate_set(["jazz-1"], num_candidates=10).candidates
        ]
        return [item.reserved for item in found if item.reserved]

    assert reserved() == reserved(published_at=None) == reserved(at=NOW - 90 * 86_400_000) == []
    assert reserved(at=NOW) == reserved(published_at=NOW) == ["new", "new"]


def test_an_unknown_listener_gets_popular_items_and_the_reason(recommender):
    found = recommender.recommend([])
    assert found.fallback == "no_history"
    assert len(found) == 10


def test_rules_of_a_session_hold(recommender):
    found = recommender.recommend(["jazz-1"], discovery="unfamiliar", exclude=("news-0",), num_candidates=20)
    assert {item.item_id for item in found} == {f"news-{number}" for number in range(1, 12)}
    assert not any(item.familiar for item in found)


@pytest.mark.parametrize(
    ("history", "rules", "message"),
    [
        (["jazz-1"], {"num_candidates": 0}, "num_candidates"),
        (["jazz-1"], {"discovery": "new"}, "discovery"),
        (["jazz-1"], {"kind": "episode"}, r"kind: unknown field, did you mean kinds\?$"),
        ("jazz-1", {}, "history: expected an iterable of item ids, got 'jazz-1'; put a single id into a list"),
        (b"jazz-1", {}, "history: expected an iterable of item ids, got b'jazz-1'"),
        (None, {}, "history: expected an iterable of item ids, got None"),
        (["jazz-1", 2], {}, r"history\[1\]: expected an item id as text, got 2"),
        ([None], {}, r"history\[0\]: expected an item id as text, got None"),
        (["jazz-1"], {"exclude": ["x"] * 1_001}, r"exclude: .* 1000 .*, got \[\"x\", .{1,90}…$"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(recommender, history, rules, message):
    with pytest.raises(DataError, match=message):
        recommender.recommend(history, **rules)


def test_the_catalogue_changes_while_it_serves(demo_pair):
    recommender = Recommender.load(demo_pair, items(3))
    assert len(recommender) == 6
    recommender.add([{"item_id": "jazz-9", "kind": "episode", "title": "Late set", "description": GENRES["jazz"]}])
    found = recommender.recommend(["jazz-0"], num_candidates=6)
    assert "Late set" in [item.title for item in found]
    recommender.remove(["jazz-9", "never there"])
    assert "jazz-9" not in [item.item_id for item in recommender.recommend(["jazz-0"], num_candidates=6)]
    recommender.add([{"item_id": "jazz-1", "kind": "episode", "title": "Renamed", "description": GENRES["jazz"]}])
    assert "Renamed" in [item.title for item in recommender.recommend(["jazz-0"], num_candidates=6)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"item_id": "x", "kind": "film"}], "item 'x': kind: "),
        ([{"item_id": "x"}], "item 'x': kind: expected a value, got none$"),
        ([{"item_id": "x", "kind": "episode", "titel": "X"}], r"item 'x': titel: unknown field, did you mean title\?"),
        ([{"kind": "track", 5: 1}], "item None: item_id: expected a value, got none$"),
        ([{"item_id": "x", "kind": "track", "title": ["long"] * 100}], r"item 'x': title: .{1,150}…$"),
        (["a"], r"items\[0\]: expected a CatalogItem or a mapping of its fields, got 'a'"),
        ([{"item_id": "x", "kind": "track"}, None], r"items\[1\]: expected a CatalogItem .*, got None"),
        ({"item_id": "x", "kind": "track"}, "items: expected an iterable of items, got {'item_id': 'x'.*into a list"),
        (CatalogItem(item_id="x", kind="track", at=NOW), "items: expected an iterable of items, got CatalogItem"),
        (None, "items: expected an iterable of items, got None"),
        ([{"item_id": "x", "at": NOW, "removed": True}], "item 'x': expected an item, got a removal; .*`remove`"),
        ([{"item_id": "x", "kind": "track", "removed": True}], "item 'x': expected an item, got a removal"),
    ],
)
def test_what_is_no_item_is_refused_by_its_place(demo_pair, recommender, given, message):
    before = len(recommender)
    with pytest.raises(DataError, match=message):
        recommender.add(given)
    with pytest.raises(DataError, match=message):
        Recommender.load(demo_pair, given)
    assert len(recommender) == before


@pytest.mark.parametrize("given", ["de", b"de", None, 5, ["d", 5]])
def test_nothing_is_removed_by_what_is_no_list_of_ids(demo_pair, given):
    recommender = Recommender.load(demo_pair, [{"item_id": name, "kind": "track"} for name in "def"])
    with pytest.raises(DataError, match=r"item_ids.*: expected an i"):
        recommender.remove(given)
    assert len(recommender) == 3
    recommender.remove(name for name in "de")
    assert len(recommender) == 1


def test_what_else_an_item_holds_is_left_out(demo_pair):
    recommender = Recommender.load(demo_pair, [{"item_id": "x", "kind": "track", "removed": False}])
    recommender.add([CatalogItem.from_json('{"item_id": "y", "kind": "episode", "at": 1767225600000, "mood": 1}')])
    assert len(recommender) == 2


def test_a_missing_pair_is_told_without_settings_of_the_command_line(tmp_path):
    with pytest.raises(ArtifactError, match=r"pair folder .*nopair: expected a tokenizer in") as refused:
        Recommender.load(tmp_path / "nopair", [])
    assert "--set" not in str(refused.value)


def test_a_catalogue_is_a_log_folder_or_a_file_of_items(demo_pair, log_folder, tmp_path):
    log = log_folder()
    for fields in items(2):
        log.item(**fields)
    folder = log.removal("news-0").write()
    assert len(Recommender.load(demo_pair, folder)) == 3
    assert len(Recommender.load(str(demo_pair), str(folder.path))) == 3
    dump = tmp_path / "items.jsonl"
    dump.write_text("".join(json.dumps({"at": NOW, **fields}) + "\n" for fields in items(2)))
    assert len(Recommender.load(demo_pair, dump)) == 4


def test_a_library_answer_is_the_answer_of_the_replay(demo_pair, log_folder, replay):
    log = log_folder()
    for fields in items():
        log.item(**fields)
    for number in (1, 2, 3):
        log.listen("ann", f"jazz-{number}")
    folder = log.session("ann").write()
    (answer,) = replay(folder, demo_pair)
    published = [event.item for event in folder.catalog()]
    recommender = Recommender(load_pair(demo_pair, EngineSettings()), published, clock=lambda: answer.produced_at)
    found = recommender.recommend(["jazz-1", "jazz-2", "jazz-3"])
    assert {item.item_id for item in found} == {candidate.item_id for candidate in answer.candidates}
