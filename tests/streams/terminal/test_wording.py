"""Heard parts and familiar items in words."""

import pytest

from sidestream.streams.terminal.wording import familiar, heard


@pytest.mark.parametrize(("share", "told"), [(None, ""), (0.0, "0%"), (0.949, "95%"), (1.7, "100%")])
def test_a_heard_part_is_a_percentage(share, told):
    assert heard(share) == told


@pytest.mark.parametrize(
    ("is_familiar", "reserved", "told"),
    [(True, None, "yes"), (False, None, "no"), (True, "new", "yes, new"), (False, "new", "no, new")],
)
def test_a_reserved_place_stands_beside_what_is_familiar(is_familiar, reserved, told):
    assert familiar(is_familiar, reserved) == told
