"""What the pages show is what there is."""

import importlib.util
import re
import tomllib

import pytest
from markdown_it import MarkdownIt

from sidestream.streams.cli.serving.settings_page import EVERYDAY
from sidestream.streams.cli.views import candidates, state
from sidestream.streams.cli.views.tail import view_of
from sidestream.streams.settings import Settings, env_name, walk_settings
from sidestream.streams.worker.watch.watchdog import ExitCode
from tests.repository.pages import PAGES, README, ROOT, anchors, blocks, inline_code, links
from tests.repository.readme import GENERATED

MAX_README_BYTES = 10_000
# Pages that name what is no more.
HISTORY = {ROOT / "CHANGELOG.md"}
# Folders of users and installations.
FOREIGN = {"model", "pair", "var", "recording", "alignment", "events", "DST"}


def name(page):
    return str(page.relative_to(ROOT))


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MAX_README_BYTES


@pytest.mark.parametrize("page", GENERATED, ids=name)
def test_generated_parts_are_up_to_date(page):
    assert GENERATED[page]() == page.read_text(), "run `make readme`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in links(text):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), target


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY], ids=name)
def test_paths_lead_somewhere(page):
    """Paths are relative to the repository or to the page's own folder."""
    paths = r"((?:[\w.]+/)+(?:[\w.]+\.(?:py|md|json|yaml|toml|txt))?|[\w/]+\.(?:py|yaml|md))"
    for code in inline_code(page.read_text()):
        found = re.fullmatch(paths + r"(?::[\w.]+)?", code)
        if found is not None and found[1].split("/")[0] not in FOREIGN:
            assert any((folder / found[1]).exists() for folder in (ROOT, page.parent)), code


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_and_modules_exist(page):
    text = page.read_text()
    shown = [*inline_code(text), *(command for block in blocks(text) for command in block.commands)]
    makefile = (ROOT / "Makefile").read_text()
    for code in shown:
        if found := re.match(r"make ([a-z-]+)", code):
            assert re.search(rf"^{found[1]}:", makefile, re.MULTILINE), code
        if found := re.search(r"python -m ((?:tests|sidestream)[\w.]+)", code):
            assert importlib.util.find_spec(found[1]) is not None, code


def test_every_exit_code_is_in_the_operators_table():
    text = (ROOT / "deploy" / "README.md").read_text()
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(ExitCode)


def test_everyday_settings_are_few_and_exist():
    names = [name for name, _, _ in walk_settings(Settings())]
    assert set(EVERYDAY) <= set(names)
    assert len(set(EVERYDAY)) == len(EVERYDAY)
    assert 20 <= len(EVERYDAY) <= 30
    page = (ROOT / "deploy" / "settings.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert rows[: len(EVERYDAY)] == [(name, env_name(name)) for name in EVERYDAY]
    assert sorted(row for row, _ in rows) == sorted(names)


def test_the_readme_is_the_long_description_and_renders():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["readme"] == "README.md"
    html = MarkdownIt("commonmark").enable("table").render(README.read_text())
    assert "<h1>Sidestream</h1>" in html
    assert "<p>|" not in html, "a table that does not render"
    assert "```" not in re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL), "a block that is not closed"


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        ("sidestream state get", state.COLUMNS),
        ("sidestream send session-start", candidates.COLUMNS),
        ("sidestream tail item-sids.v1", view_of("item-sids.v1").columns),
    ],
)
def test_the_samples_have_the_columns_of_their_views(command, columns):
    shown = "".join(block.text for block in blocks(README.read_text()) if block.language == "console")
    sample = next(part for part in shown.split("$ ") if part.startswith(command)).splitlines()[1:]
    headings = [column.heading for column in columns]
    head = next(place for place, line in enumerate(sample) if line.split("  ")[0] in headings)
    told = re.split(r"\s{2,}", sample[head])
    assert set(told) <= set(headings)
    assert all(len(re.split(r"\s{2,}", line.strip())) == len(told) for line in sample[head + 1 :])
    facts = [line.split()[0] for line in sample[:head] if line]
    assert facts == [fact for fact in state.FACTS if fact in facts]


def test_the_tour_leaves_nothing_in_a_checkout():
    ignored = [f"{line.strip('/')}/" for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("/")]
    for block in blocks(README.read_text()):
        if block.section in ("Start", "Tour"):
            made = [command.split()[-1] for command in block.commands if command.startswith("sidestream world")]
            assert all(folder.startswith(tuple(ignored)) for folder in made)
