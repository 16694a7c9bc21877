import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sidestream.models.data import LogFolder
from sidestream.models.data.manifest import Clock, Split
from sidestream.models.data.rows import ListenRow
from sidestream.models.data.writer import FolderFacts, LogFolderWriter
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem
from sidestream.models.tokenizer_report import gather, render
from sidestream.models.tokenizer_report.against import against_section, set_against
from sidestream.models.tokenizer_report.course import drift_course
from sidestream.models.tokenizer_report.gather import ReportItems
from sidestream.models.tokenizer_report.prefixes import Limits, prefix_tree
from sidestream.models.tokenizer_report.report import write_report
from sidestream.models.tokenizer_report.story import stories
from sidestream.models.tokenizer_report.style import STYLE
from sidestream.models.tokenizer_report.svg import Line, over_time, spread
from sidestream.streams.cli.main import app
from sidestream.tokenizer.artifact import save_tokenizer
from sidestream.tokenizer.content import WordLlamaEncoder, item_text
from sidestream.tokenizer.drift import DriftSettings, describe_arrivals
from sidestream.tokenizer.fitting import fit_tokenizer
from sidestream.tokenizer.generations import VersionOnItems, compare
from sidestream.tokenizer.levels import CentroidLevel, Quantizer
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import text_items
from tests.models.log_catalogue import catalogue_at

AT = 1_700_000_000_000
NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)> & "quotes" \' ]]>'
VOID = {"meta", "br", "img"}


class Reader(HTMLParser):
    """Checks that tags close in order, and gathers tags and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314
    return reader


def made_up(num_items, sizes=(16, 16, 16), dim=8, seed=0, titles=None):
    """A catalogue of arrays alone, near its centroids."""
    rng = np.random.default_rng(seed)
    scales = [0.3 / (1 + n) for n in range(len(sizes))]
    codebooks = [
        np.round(rng.standard_normal((size, dim)) * scale * 2**14) / 2**14
        for size, scale in zip(sizes, scales, strict=True)
    ]
    levels = Quantizer(tuple(CentroidLevel(np.clip(codebook, -1.9, 1.9)) for codebook in codebooks))
    codes = np.stack([rng.integers(0, size, num_items) for size in sizes], axis=1).astype(np.int32)
    vectors = levels.decode(codes) + 0.05 * rng.standard_normal((num_items, dim))
    norms = [np.linalg.norm(vectors - levels.decode(codes[:, :n]), axis=1) for n in range(len(sizes) + 1)]
    return ReportItems(
        data="made up (nothing real)",
        item_ids=[f"item-{n}" for n in range(num_items)],
        titles=titles or [f"A title as long as most of them are, number {n}" for n in range(num_items)],
        arrived_at=np.arange(num_items, dtype=np.int64) * 86_400_000,
        arrival_is="first publication in the log",
        vectors=vectors,
        codes=codes,
        norms=np.stack(norms, axis=1),
        arrival_codes=codes,
        arrival_norms=norms[-1],
        levels=levels,
        version="0123456789ab",
        encoder="none",
        reference=describe_arrivals(codes, sizes, norms[-1]),
        own_reference=True,
        num_heard=num_items // 2,
    )


def test_a_page_needs_nothing_from_elsewhere_and_closes_what_it_opens():
    page = render(made_up(600), DriftSettings(window=100))
    reader = read(page)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(reader.tags)
    names = {name for name, _ in reader.attributes}
    assert not [name for name in names if name.startswith("on")]
    assert {value for name, value in reader.attributes if name in ("href", "src")} == {
        f"#{name}" for name in ("usage", "buckets", "levels", "drift", "stories", "prefixes")
    }
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert {value for name, value in reader.attributes if name == "id"} >= {"usage", "drift", "prefixes"}


def test_titles_are_words_and_never_markup():
    titles = [NASTY] * 300
    items = made_up(300, titles=titles)
    object.__setattr__(items, "item_ids", [f"{NASTY}{n}" for n in range(300)])
    object.__setattr__(items, "data", NASTY)
    older, newer = (VersionOnItems(name, items.levels, items.codes, items.vectors) for name in (NASTY, "newer"))
    page = render(items, DriftSettings(window=50), set_against(older, newer, items.vectors, np.random.default_rng(0)))
    reader = read(page)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert NASTY in "".join(reader.words)


@pytest.mark.parametrize(("count", "sizes"), [(100_000, (256, 256, 256)), (10_000, (64, 65_536))])
def test_a_page_of_100k_items_stays_below_two_megabytes(count, sizes):
    items = made_up(count, sizes=sizes, titles=[f"{n:06d} {'title ' * 12}"[:80] for n in range(count)])
    assert len(render(items, DriftSettings()).encode()) <= 2_000_000


@pytest.mark.parametrize(("count", "sizes"), [(1, (4, 4)), (3, (4,)), (60, (2, 2, 2, 2, 2, 2))])
def test_small_and_odd_catalogues_have_a_page(count, sizes):
    reader = read(render(made_up(count, sizes), DriftSettings()))
    assert f"Too few items arrived: {count} of 200." in "".join(reader.words)


def test_the_tree_counts_every_item_once():
    items = made_up(2_000, (32, 32, 32))
    root = prefix_tree(items, Limits(branches=(40, 40)))
    assert [branch.num_items for branch in root.branches] == sorted(np.bincount(items.codes[:, 0]), reverse=True)
    assert root.num_branches == 32
    for branch in root.branches:
        assert sum(below.num_items for below in branch.branches) == branch.num_items
        for below in branch.branches:
            assert all(tuple(items.codes[row, :2]) == below.codes for row in below.examples)
    few = prefix_tree(items, Limits(branches=(3, 2), items=1))
    assert [len(few.branches), *(len(branch.branches) for branch in few.branches)] == [3, 2, 2, 2]
    first = few.branches[0]
    middle = items.levels.decode(np.array([first.codes], dtype=np.int32))[0]
    rows = np.flatnonzero(items.codes[:, 0] == first.codes[0])
    assert first.examples[0] == rows[np.linalg.norm(items.vectors[rows] - middle, axis=1).argmin()]


def test_a_story_follows_the_codes_and_names_the_next_best():
    items = made_up(500)
    found = stories(items, ["item-7"])
    assert [(story.row, story.why) for story in found] == [(7, "requested")]
    steps = found[0].steps
    assert [step.code for step in steps] == items.codes[7].tolist()
    assert [step.before for step in steps] == pytest.approx(items.norms[7, :-1].tolist())
    assert [step.after for step in steps] == pytest.approx(items.norms[7, 1:].tolist())
    book = items.levels.levels[0].centroids
    for code, left in steps[0].others:
        assert code != steps[0].code
        assert left == pytest.approx(np.linalg.norm(items.vectors[7] - book[code]))
    mates = [row for row in np.flatnonzero(items.codes[:, 0] == items.codes[7, 0]) if row != 7]
    assert steps[0].num_items == len(mates) + 1
    assert set(steps[0].neighbours) <= set(mates)
    usual = stories(items, [])
    assert [story.why.split(":")[0] for story in usual] == ["the latest arrival", "a typical one", "fits worst"]
    assert usual[2].row == items.norms[:, -1].argmax()


def test_an_item_that_the_log_does_not_hold_is_named():
    with pytest.raises(DataError, match="--item: expected items of the log, got not there, nor this; "):
        stories(made_up(50), ["not there", "item-7", "nor this"])


def test_the_course_shows_where_an_alarm_would_have_rung():
    items = made_up(2_000)
    calm = drift_course(items, DriftSettings(window=200))
    assert calm.raised == {}
    items.arrival_norms[1_200:] *= 3
    moved = drift_course(items, DriftSettings(window=200))
    assert set(moved.raised) == {"residual"}
    assert moved.at == tuple(sorted(moved.at))
    assert moved.figures[0].residual_share < 0.1 < 0.9 < moved.figures[-1].residual_share
    assert "residual in" in render(items, DriftSettings(window=200))


def compared_with(items, codes, levels, rng_seed=0):
    """The codes of the items compared with those of another version."""
    older = VersionOnItems("older", items.levels, items.codes, items.vectors)
    newer = VersionOnItems("newer", levels, codes, items.vectors)
    return older, newer, set_against(older, newer, items.vectors, np.random.default_rng(rng_seed))


def finer_than(items):
    """The same codes and one more, of a level that means nothing."""
    level = CentroidLevel(np.arange(7 * items.vectors.shape[1]).reshape(7, -1) % 5 / 2**8)
    codes = np.concatenate([items.codes, np.arange(len(items.codes))[:, None] % 7], axis=1).astype(np.int32)
    return codes, Quantizer((*items.levels.levels, level))


def test_two_versions_are_compared_as_by_compare():
    items = made_up(400, (4, 4, 4))
    older, newer, found = compared_with(items, *finer_than(items))
    expected, _ = compare(older, newer, items.vectors, np.random.default_rng(0))
    assert found.comparison == expected
    assert found.comparison.matched_sids == found.old_sizes.size < found.new_sizes.size
    assert found.old_sizes.sum() == found.new_sizes.sum() == 400
    page = against_section(found)
    words = "".join(read(page).words)
    assert f"the same at {expected.matched_sids:,} SIDs each" in words
    assert f"{expected.new.matched_cosine:.3f}" in words
    assert f"{expected.churn.bucket_mates_changed:.0%} of items share their SID with different items" in words
    assert f"{expected.churn.neighbours_changed:.0%} have changed" in words
    assert f"first code of {expected.agreement['unseen_unknown']:.1%}" in words
    assert 'class="n good">+' in page


FONT = 11.0


def text_boxes(drawing):
    """What each text of a plot covers: left, top, right, bottom; letters are taken for wide ones."""
    for attributes, words in re.findall(r"<text ([^>]*)>([^<]*)</text>", drawing):
        x, y = (float(re.search(rf'\b{name}="([\d.]+)"', attributes)[1]) for name in "xy")
        size = re.search(r"font-size:([\d.]+)px", attributes)
        size = float(size[1]) if size else FONT
        width = len(words) * 0.56 * size
        anchor = re.search(r'text-anchor="(\w+)"', attributes)[1]
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        yield words, (left, y - 0.78 * size, left + width, y + 0.2 * size)


def overlapping(drawing):
    """Pairs of overlapping texts, and texts outside the plot."""
    found = list(text_boxes(drawing))
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing).groups())
    out = [one for one, box in found if box[0] < -1 or box[1] < 0 or box[2] > width + 1 or box[3] > height]
    pairs = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(found, 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    return out + pairs


@pytest.mark.parametrize("levels", range(1, 17))
def test_no_two_words_of_a_plot_lie_on_each_other(levels):
    items = made_up(600, (4,) * levels)
    _, _, found = (
        compared_with(items, *finer_than(items)) if levels < 16 else compared_with(items, items.codes, items.levels)
    )
    page = render(items, DriftSettings(window=100), found)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 8
    assert [overlapping(drawing) for drawing in drawings if overlapping(drawing)] == []


@given(
    st.lists(st.lists(st.integers(0, 1_000), min_size=3, max_size=3), min_size=1, max_size=16),
    st.none() | st.integers(1, 1_000),
)
def test_names_of_lines_stand_apart_inside_the_plot(values, limit):
    lines = [Line(f"level {n}", some, f"s{n % 5}") for n, some in enumerate(values)]
    drawing = over_time("plot", lines, limit, [(0.0, "05 Jan"), (1.0, "25 Jan")], "arrivals in their order")
    assert overlapping(drawing) == []


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0.5, 20))
def test_spread_keeps_order_distance_and_bounds(wanted, gap):
    places = spread(wanted, 0.0, 100.0, gap)
    least = min(gap, 100.0 / max(len(wanted) - 1, 1))
    assert all(-1e-6 <= place <= 100.0 + 1e-6 for place in places)
    in_order = sorted(places)
    assert all(after - before >= least - 1e-6 for before, after in itertools.pairwise(in_order))
    ranked = [places[index] for index in sorted(range(len(wanted)), key=lambda index: wanted[index])]
    assert ranked == in_order
    if all(after - before >= gap for before, after in itertools.pairwise(sorted(wanted))):
        assert places == pytest.approx(wanted)


def test_the_table_of_two_versions_has_the_whole_width():
    items = made_up(400, (4, 4, 4))
    page = against_section(compared_with(items, *finer_than(items))[2])
    (card,) = re.findall(r'<div class="([^"]*)"><table', page)
    assert "wide" in card.split()
    assert ".wide{grid-column:1/-1}" in STYLE


def lines_of(page, title):
    """Names of the lines of a plot, and the largest value in each tooltip."""
    (drawing,) = re.findall(rf'<svg[^>]*aria-label="{title}".*?</svg>', page, re.DOTALL)
    return {name: float(top) for name, top in re.findall(r"<title>(.*?): [\d.]+ to ([\d.]+)", drawing)}


def test_churn_and_agreement_are_plotted():
    items = made_up(400, (4, 4, 4))
    _, _, same = compared_with(items, items.codes, items.levels)
    page = against_section(same)
    assert lines_of(page, "Items that still share a prefix") == {"kept": 1.0}
    agreed = lines_of(page, "Accuracy of the map from old SIDs to new ones")
    assert agreed["in the map"] == 1.0
    assert agreed["chance"] < 0.5 < agreed["not in it"]
    shuffled = np.random.default_rng(1).permutation(items.codes)
    _, _, other = compared_with(items, shuffled, items.levels)
    page = against_section(other)
    assert lines_of(page, "Items that still share a prefix")["kept"] < 0.3
    agreed = lines_of(page, "Accuracy of the map from old SIDs to new ones")
    assert agreed["not in it"] < 0.5
    assert same.comparison.churn.bucket_mates_changed == 0.0 < other.comparison.churn.bucket_mates_changed
    bars = re.findall(r"<title>(older|newer): ([\d.]+)</title>", page)
    assert [name for name, _ in bars] == ["older", "newer"]
    assert float(bars[0][1]) > float(bars[1][1]) + 0.1


@pytest.mark.parametrize("count", [1, 9])
def test_versions_without_shared_sids_can_be_compared(count):
    items = made_up(count, (16,))
    codes = np.arange(count)[:, None].astype(np.int32)
    _, _, found = compared_with(items, codes, items.levels)
    assert found.comparison.new.matched_cosine is None
    assert "newer: no two items share a SID" in against_section(found)


FACTS = FolderFacts(
    name="tiny",
    source="a test",
    licence="none",
    events_are="made up",
    clock=Clock(kind="synthetic", statement="made up"),
    split=Split(protocol="none", statement="none"),
)
GENRES = ["rain forest sleep calm", "goal match league coach", "crime trial court detective"]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "log"
    with LogFolderWriter(path) as writer:
        for number in range(240):
            writer.item(item_of(number, at=AT + 1_000))
        for number in range(240):
            writer.listen(ListenRow(f"e{number}", f"u{number % 9}", f"i{(number * 7) % 200}", AT + 2_000 + number))
        writer.finish(FACTS)
    return LogFolder(path)


def item_of(number, at):
    title = NASTY if number == 3 else f"{GENRES[number % 3]} part {number}"
    return CatalogItem(item_id=f"i{number}", kind="episode", title=title, creator=f"Host {number % 5}", at=at)


@pytest.fixture(scope="module")
def fitted(log):
    items = catalogue_at(log)
    texts = [item_text(item.title, creator=item.creator, kind=item.kind) for item in items.values()]
    settings = TokenizerSettings(vector_dim=32, collaborative_dim=8, codebook_size=16)
    sequences = [np.arange(start, 200, 9) for start in range(9)]
    return fit_tokenizer(
        text_items(list(items), texts), sequences, WordLlamaEncoder(), settings, np.random.default_rng(0)
    )


def test_gathering_orders_by_arrival_and_encodes_as_the_tokenizer_does(log, fitted):
    items = gather(log, fitted)
    # All were published at once, so the first listen counts, and 40 items were never heard.
    assert items.item_ids[:3] == ["i0", "i7", "i14"]
    assert len(items.item_ids) == 200
    assert items.arrival_is.startswith("first event of each item")
    assert items.titles[0] == "rain forest sleep calm part 0 · Host 0"
    assert items.own_reference
    known = catalogue_at(log)
    texts = [
        item_text(known[item_id].title, creator=known[item_id].creator, kind="episode") for item_id in items.item_ids
    ]
    assert np.array_equal(items.codes, fitted.encode_items(text_items(items.item_ids, texts)).codes)
    unheard = fitted.encode_items(text_items([f"new-{item_id}" for item_id in items.item_ids], texts)).codes
    assert np.array_equal(items.arrival_codes, unheard)
    assert np.all(items.norms[:, -1] <= items.norms[:, 0] + 1e-6)


def test_the_share_that_was_heard_is_of_the_items_of_the_log(log, fitted, tmp_path):
    assert gather(log, fitted).num_heard == 200
    with LogFolderWriter(tmp_path / "log") as writer:
        for number in (5, 900, 901, 902):
            writer.item(item_of(number, at=AT + 1_000 + number))
        writer.finish(replace(FACTS, name="other"))
    items = gather(LogFolder(tmp_path / "log"), fitted)
    assert items.num_heard == 1
    assert "items, 25% of them heard in training" in render(items, DriftSettings(window=100))


def test_the_command_writes_the_page(log, fitted, tmp_path: Path):
    pair, older = tmp_path / "pair", tmp_path / "older"
    save_tokenizer(pair / "tokenizer", fitted)
    save_tokenizer(older, fitted.tokenizer)
    out = tmp_path / "made" / "report.html"
    command = ["tokenizer", "report", str(pair), "--log", str(log.path), "--out", str(out), "--item", "i3", "--json"]
    found = CliRunner().invoke(app, [*command, "--against", str(older)])
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    page = out.read_text()
    assert facts["bytes"] == len(page.encode())
    assert facts["drift_reference"] == "of the tokenizer"
    reader = read(page)
    words = "".join(reader.words)
    assert "Is it better than" in words
    both = [str(older), str(pair / "tokenizer"), "--log", str(log.path), "--json"]
    compared = json.loads(CliRunner().invoke(app, ["tokenizer", "compare", *both]).stdout)
    assert f"the same at {compared['matched_sids']:,} SIDs each" in words
    assert f"{compared['new']['matched_cosine']:.3f}" in words
    assert f"{compared['churn']['neighbours_changed']:.0%} have changed" in words
    assert "requested" in words
    assert "script" not in reader.tags
    silent = CliRunner().invoke(app, ["tokenizer", "report", str(older), "--log", str(log.path), "--out", str(out)])
    assert silent.exit_code == 0, silent.output
    assert "the tokenizer’s artifact has no reference" in out.read_text()


def test_an_empty_log_is_refused(fitted, log, tmp_path: Path):
    with LogFolderWriter(tmp_path / "empty") as writer:
        writer.finish(FolderFacts("e", "e", "e", "e", log.manifest.clock, log.manifest.split))
    with pytest.raises(DataError, match="nothing to report on"):
        write_report(LogFolder(tmp_path / "empty"), fitted, tmp_path / "r.html", DriftSettings())
