"""Counts, heard parts and familiar items in words."""

import pytest

from sidestream.streams.terminal.wording import counted, familiar, heard


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 problems"), (1, "1 problem"), (2, "2 problems"), (1_200, "1,200 problems")]
)
def test_a_count_has_its_noun(count, told):
    assert counted(count, "problem") == told
    assert counted(count, "reply", "replies") == told.replace("problems", "replies").replace("problem", "reply")


@pytest.mark.parametrize(("share", "told"), [(None, ""), (0.0, "0%"), (0.949, "95%"), (1.7, "100%")])
def test_a_heard_part_is_a_percentage(share, told):
    assert heard(share) == told


@pytest.mark.parametrize(
    ("is_familiar", "reserved", "told"),
    [(True, None, "yes"), (False, None, "no"), (True, "new", "yes, new"), (False, "new", "no, new")],
)
def test_a_reserved_place_stands_beside_what_is_familiar(is_familiar, reserved, told):
    assert familiar(is_familiar, reserved) == told
