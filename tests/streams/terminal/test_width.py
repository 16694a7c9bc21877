"""Shortening and wrapping by display width."""

from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.terminal.printable import printable
from sidestream.streams.terminal.width import fold, pad, shorten, text_width

SAFE = st.text().map(printable)


def test_ids_are_cut_in_their_middle_and_texts_at_their_end() -> None:
    assert shorten("listener-000042", 9, cut="middle") == "list…0042"
    assert shorten("listener-000042", 9) == "listener…"
    assert shorten("short", 9, cut="middle") == "short"
    assert shorten("東京事変", 4) == "東…"
    assert shorten("abc", 1) == "…"
    assert shorten("abc", 0) == ""


def test_lines_are_folded_at_spaces_and_long_words_are_broken() -> None:
    assert fold("one two three", 8) == ["one two", "three"]
    assert fold("one two", 3) == ["one", "two"]
    assert fold("abcdefgh", 3) == ["abc", "def", "gh"]
    assert fold("", 3) == [""]


def test_whole_words_stay_whole() -> None:
    assert fold("abcdefgh", 3, whole_words=True) == ["abcdefgh"]
    assert fold("see /a/long/path now", 5, whole_words=True) == ["see", "/a/long/path", "now"]
    assert fold("/a/long/path", 5, whole_words=True) == ["/a/long/path"]
    assert fold("one two three", 8, whole_words=True) == ["one two", "three"]


@given(SAFE, st.integers(0, 40), st.sampled_from(["end", "middle"]))
def test_shortened_text_fits_and_fitting_text_is_unchanged(text, width, cut) -> None:
    found = shorten(text, width, cut=cut)
    assert text_width(found) <= width
    assert found == text or text_width(text) > width
    assert text_width(pad(found, width)) == width


@given(SAFE, st.integers(2, 40), st.booleans())
def test_folding_loses_only_the_spaces_at_line_breaks(text, width, whole_words) -> None:
    lines = fold(text, width, whole_words=whole_words)
    assert all(text_width(line) <= width or (whole_words and " " not in line.strip(" ")) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
