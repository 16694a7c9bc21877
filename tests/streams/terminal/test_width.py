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


@given(SAFE, st.integers(0, 40), st.sampled_from(["end", "middle"]))
def test_shortened_text_fits_and_fitting_text_is_unchanged(text, width, cut) -> None:
    found = shorten(text, width, cut=cut)
    assert text_width(found) <= width
    assert found == text or text_width(text) > width
    assert text_width(pad(found, width)) == width


@given(SAFE, st.integers(2, 40))
def test_folding_loses_only_the_spaces_at_line_breaks(text, width) -> None:
    lines = fold(text, width)
    assert all(text_width(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
