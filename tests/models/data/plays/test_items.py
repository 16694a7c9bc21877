from sidestream.models.data.plays import Items, Words
from sidestream.models.data.plays.items import MAX_NAMES_OF_ID, name_key

AT = 1_700_000_000_000


def song(title, creator="A", **more):
    return Words(title=title, creator=creator, **more)


def test_one_song_under_several_ids_and_spellings_is_one_item():
    items = Items()
    first = items.of_name(("mbid-1",), song("Über  Song"), 5)
    assert items.of_name(("mbid-2",), song("über song"), 6) == first
    assert items.of_name((), song("ÜBER SONG"), 7) == first
    assert items.of_name(("mbid-2",), song("Uber Song (remaster)"), 8) == first
    assert items.of_name((), song("Über Song", "B"), 9) != first
    assert items.item_id(first) == "mbid-1"
    assert len(items) == 2


def test_an_id_that_comes_late_names_the_item_and_no_id_makes_one():
    items = Items()
    named = items.of_name((), song("x"), 1)
    assert items.item_id(named) == f"name:{name_key(song('x')).hex()}"
    items.of_name(("id",), song("x"), 2)
    assert items.item_id(named) == "id"


def test_an_id_under_too_many_names_is_not_believed():
    items = Items()
    found = {items.of_name(("same",), song(f"title {number}"), number) for number in range(MAX_NAMES_OF_ID + 3)}
    assert len(found) == 1 + 3
    assert items.doubtful == {"same"}
    assert len({items.item_id(name) for name in found}) == len(found)


def test_the_newest_words_count_and_older_ones_fill_the_gaps():
    items = Items()
    name = items.of_id("i", Words(title="old", creator="A", tags=("t",)), 5)
    items.of_id("i", Words(title="new"), 9)
    items.of_id("i", Words(title="older still", show="S"), 1)
    items.of_id("i", None)
    (record,) = items.records(AT)
    assert (record.item_id, record.at, record.title, record.creator, record.show, record.tags) == (
        "i", AT, "new", "A", "S", ("t",),
    )  # fmt: skip
    assert items.item_id(name) == "i"


def test_parts_of_shows_with_equal_titles_stay_apart():
    one = Words(kind="episode", title="Intro", show="One")
    assert name_key(one) != name_key(Words(kind="episode", title="Intro", show="Two"))
    assert name_key(song("Intro", show="One")) == name_key(song("Intro", show="Two"))
