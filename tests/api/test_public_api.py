"""Public API of `sidestream`: lazily loaded names, and recommendations in five lines."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import sidestream
from sidestream import Recommender
from sidestream.streams.errors import DataError

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
    found = recommender.recommend(["jazz-1", "gone", "jazz-2"])
    assert found.unknown == ("gone",)
    assert found.fallback is None


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
        (["jazz-1"], {"kind": "episode"}, "no such field: kind; there are .*session_id, .*kinds"),
        ("jazz-1", {}, r"expected a list of item ids, got the text 'jazz-1'; pass \['jazz-1'\]"),
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
    with pytest.raises(DataError, match="item 'x': kind: "):
        recommender.add([{"item_id": "x", "kind": "film"}])


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
    (answer,) = replay(log.session("ann").write(), demo_pair)
    recommender = Recommender.load(demo_pair, items())
    found = recommender.recommend(["jazz-1", "jazz-2", "jazz-3"])
    assert {item.item_id for item in found} == {candidate.item_id for candidate in answer.candidates}
