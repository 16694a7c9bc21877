"""Tables on a pseudo-terminal: no line is wider than it, whatever the data."""

import contextlib
import io

import pytest

from sidestream.streams.cli.output import live_table, print_facts
from sidestream.streams.cli.views.tail import view_of
from tests.streams.cli.views.every_view import AT, TABLES, TOPICS
from tests.streams.cli.views.pseudo_terminal import SGR, WIDTHS, lines_of, save_picture, shown, width_of

NASTY = {
    "short": "u-42",
    "long id": "listener-" + "0123456789" * 24 + "-end",
    "long words": "One More Cup of Coffee (Valley Below) " * 9,
    "wide": "東京事変の夜に聴く音楽" * 12,
    "emoji": "👩\u200d💻🇩🇪❤\ufe0f👍🏽" * 20,
    "marks": "e\u0301a\u0308\u0323" * 60,
    "hostile": "\x1b[2J\x1b]0;x\x07\u202e\u200b\n" * 6,
    "empty": "",
}


@pytest.mark.parametrize("columns", [30, *WIDTHS])
@pytest.mark.parametrize("name", TABLES)
def test_no_line_is_wider_than_the_terminal(name, columns, monkeypatch) -> None:
    for data, text in NASTY.items():
        lines = lines_of(shown(lambda text=text: TABLES[name](text), monkeypatch, columns))
        widest = max(lines, key=width_of)
        assert width_of(widest) <= columns, f"{data}: {widest!r}"


HEADS = {
    "tail listen-events.v1": "user",
    "tail candidates.v1": "first candidates",
    "tail listen-events.v1.dlq": "reason",
    "state get": "item id",
    "send --wait": "item id",
    "tokenizer generations": "version",
    "evaluate": "ranker",
    "live": "item",
    "live, none": "item",
    "topics list": "topic",
    "config show": "setting",
}


# Facts and sentences beside the table are folded.
WITH_SENTENCES = ("state get", "send --wait", "evaluate")


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", HEADS)
def test_every_row_is_one_line_below_its_heading(name, columns, monkeypatch) -> None:
    lines = lines_of(shown(lambda: TABLES[name](NASTY["wide"]), monkeypatch, columns))
    few = lines_of(shown(lambda: TABLES[name]("x"), monkeypatch, columns))
    assert any(HEADS[name] in line for line in lines)
    hidden = [line for line in lines if line.startswith("hidden at this width: ")]
    assert len(hidden) <= 1
    if name not in WITH_SENTENCES:
        rows = [line for line in few if not line.startswith("hidden at this width: ")]
        assert len(lines) - len(hidden) == len(rows), "long data takes no more lines than short data"


def test_what_is_dropped_is_named_and_numbers_stand_to_the_right(monkeypatch) -> None:
    at_60 = lines_of(shown(lambda: TABLES["topics list"]("item-sids.v1"), monkeypatch, 60))
    at_120 = lines_of(shown(lambda: TABLES["topics list"]("item-sids.v1"), monkeypatch, 120))
    assert at_120[0].split() == ["topic", "key", "wanted", "found", "compacted", "found", "policy"]
    place = at_120[0].index("wanted") + len("wanted")
    assert [line[place - 1] for line in at_120[1:3]] == ["8", "8"]
    narrow = lines_of(shown(lambda: TABLES["topics list"]("a-long-topic-name-" * 2), monkeypatch, 60))
    assert narrow[-1] == "hidden at this width: key, compacted"
    assert not any(line.startswith("hidden") for line in at_120)
    assert at_60[0].startswith("topic")


@pytest.mark.parametrize(("columns", "is_table"), [(60, False), (80, False), (100, True), (120, True)])
def test_dead_letters_are_blocks_where_a_row_would_say_nothing(columns, is_table, monkeypatch) -> None:
    lines = lines_of(shown(lambda: TABLES["dlq list"]("x"), monkeypatch, columns))
    assert lines[0].startswith("letter")
    assert ("reason" in lines[0]) == is_table
    assert any(line.startswith("reason") for line in lines) != is_table


@pytest.mark.parametrize("columns", [*WIDTHS, 160])
@pytest.mark.parametrize("name", ["dlq list", "dlq replay --dry-run", "topics check"])
def test_a_sentence_is_shown_to_its_end(name, columns, monkeypatch) -> None:
    sentence = "at: expected UTC epoch ms from 2000 to 2100, got 1780000000, which looks like seconds: multiply by 1000"
    lines = lines_of(shown(lambda: TABLES[name](sentence), monkeypatch, columns))
    assert sentence in " ".join(" ".join(lines).split())


def rows_of(topic: str, *idents: str) -> None:
    """Rows of a topic whose ids are short enough to be copied, and whose texts are not."""
    view = view_of(topic)
    table = live_table(view.columns)
    for ident in idents:
        by_kind = {"id": ident, "number": 1_234, "time": AT, "text": "word " * 20}
        table.add({column.key: by_kind[column.kind] for column in view.columns})


IMPORTED = "name:0f3a99c1d2e4b5a60718293a"


@pytest.mark.parametrize(("ident", "columns"), [("syn-track-000001", 80), ("syn-track-000001", 120), (IMPORTED, 120)])
@pytest.mark.parametrize("topic", [topic for topic in TOPICS if not topic.endswith(".dlq")])
def test_the_ids_of_a_row_can_be_copied(topic, ident, columns, monkeypatch) -> None:
    lines = lines_of(shown(lambda: rows_of(topic, ident), monkeypatch, columns))
    shown_ids = sum(column.kind == "id" and not column.priority for column in view_of(topic).columns)
    assert lines[-1].split().count(ident) >= shown_ids
    assert max(map(width_of, lines)) <= columns


def test_a_longer_id_widens_its_column_below_a_new_heading(monkeypatch) -> None:
    lines = lines_of(shown(lambda: rows_of("item-sids.v1", "a", "b", IMPORTED, "c"), monkeypatch, 120))
    heads = [place for place, line in enumerate(lines) if line.startswith("time")]
    assert len(heads) == 2
    assert IMPORTED in lines[heads[1] + 1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        rows_of("item-sids.v1", "a", "b", IMPORTED, "c")
    assert sum(line.startswith("time") for line in out.getvalue().splitlines()) == 1


def test_long_ids_leave_room_for_what_a_candidate_is(monkeypatch) -> None:
    lines = lines_of(shown(lambda: TABLES["send --wait"](IMPORTED), monkeypatch, 60))
    assert {"score", "familiar"} <= set(lines[0].split())
    assert "yes, new" in lines[1]


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_state_is_a_few_facts_and_then_its_listens(columns, monkeypatch) -> None:
    lines = lines_of(shown(lambda: TABLES["state get"]("listener-000041"), monkeypatch, columns))
    head = next(place for place, line in enumerate(lines) if line.startswith("item id"))
    assert head <= 6
    assert "heard" in lines[head] or columns < 80
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["listener-000041", "key"]
    assert len(lines) <= head + 4
    assert not any("recent event ids" in line for line in lines)


def test_sentences_in_a_list_are_told_apart(capsys) -> None:
    print_facts({"notes": ["Some were seen.", "All items, of all kinds."], "languages": ["de", "en"]}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "notes      Some were seen; All items, of all kinds",
        "languages  de, en",
    ]


def test_nothing_is_cut_in_a_pipe() -> None:
    for name, draw in TABLES.items():
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            draw("word " * 80)
        assert "…" not in out.getvalue() or name.startswith("tail candidates"), name
        assert "hidden at" not in out.getvalue()
        assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(("term", "env"), [("xterm", {"NO_COLOR": "1"}), ("dumb", {}), ("", {})])
@pytest.mark.parametrize("name", ["topics list", "state get", "dlq list", "tail listen-events.v1"])
def test_no_styles_where_none_are_wanted(name, term, env, monkeypatch) -> None:
    text = shown(lambda: TABLES[name](NASTY["wide"]), monkeypatch, 60, term=term, **env)
    assert "\x1b" not in text
    assert max(map(width_of, lines_of(text))) <= 60


def test_a_terminal_that_knows_ascii_alone_is_not_overrun(monkeypatch) -> None:
    for draw in TABLES.values():
        text = shown(lambda draw=draw: draw(NASTY["wide"]), monkeypatch, 60, encoding="ascii")
        assert max(map(width_of, lines_of(text))) <= 60


def test_titles_are_bold_where_they_can_be(monkeypatch) -> None:
    assert SGR.search(shown(lambda: TABLES["topics list"]("t"), monkeypatch, 80))


REALISTIC = "listener-000041"


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_pictures_for_the_documentation(name, columns, monkeypatch) -> None:
    """Saves text and SVG where SIDESTREAM_TEST_PICTURES names a folder."""
    text = shown(lambda: TABLES[name](REALISTIC), monkeypatch, columns)
    assert text.endswith("\n")
    save_picture(name.replace(" ", "-").replace(",", "").replace("/", "-"), columns, text)
