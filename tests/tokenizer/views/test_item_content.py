import pytest

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.views import ContentSegment, ItemContent, text_items
from sidestream.tokenizer.views.item import MAX_SEGMENT_MS, MAX_SEGMENTS


def segment(start_ms=0, end_ms=10, text="a crowd cheers", field="events"):
    return ContentSegment(start_ms, end_ms, text, field)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([segment(), segment(20, 20)], r"segments\[1\]: empty span: expected end_ms after start_ms 20, got 20"),
        ([segment(20, 10)], r"segments\[0\]: empty span: expected end_ms after start_ms 20, got 10"),
        ([segment(-1, 10)], r"segments\[0\]: negative start: expected start_ms from 0, got -1"),
        ([segment(text=" \n")], r"segments\[0\]: empty text"),
        (
            [segment(field="camera")],
            r"segments\[0\]: unknown field: expected events, dialogue, acoustics or none",
        ),
        ([segment(0, MAX_SEGMENT_MS + 1)], r"segments\[0\]: long span"),
        (
            [segment(30, 40), segment(0, 10), segment(9, 20)],
            r"segments\[2\]: overlap: starts at 9 ms, before segments\[1\] of the same field \(events\) ends at 10 ms",
        ),
        ([segment(field=None), segment(5, 20, field=None)], r"segments\[1\]: overlap: .* \(none\)"),
        ([segment(n, n + 1) for n in range(MAX_SEGMENTS + 1)], "segments: expected at most 1024, got 1025"),
    ],
)
def test_malformed_segments_are_named_in_the_error(segments, message):
    with pytest.raises(TokenizerError, match=message):
        ItemContent("a", segments=tuple(segments))


def test_segments_of_different_fields_may_overlap_and_come_in_any_order():
    segments = (segment(10, 20), segment(0, 10), segment(5, 15, field="dialogue"), segment(5, 15, field=None))
    assert ItemContent("a", segments=segments).segments == segments


@pytest.mark.parametrize("name", ["text", "segments", "segments.dialogue", "segments.video", "", "x" * 65])
def test_a_vector_may_not_have_the_name_of_a_view_that_is_made_of_words(name):
    with pytest.raises(TokenizerError, match="view "):
        ItemContent("a", views={name: [1.0]})


def test_text_items_are_one_for_each_text():
    assert text_items(["a", "b"], ["x", ""]) == [ItemContent("a", "x"), ItemContent("b")]
    with pytest.raises(TokenizerError, match="got 1 items and 2 texts"):
        text_items(["a"], ["b", "c"])
