"""`sidestream broker` as people see it."""

import pytest

from sidestream.streams.broker import BrokerStatus
from sidestream.streams.cli.serving.broker import _print_brokers, age_told


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (None, ""),
        (-3, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ],
)
def test_an_age_is_told_by_its_two_largest_units(age_s, told):
    assert age_told(age_s) == told


@pytest.mark.parametrize("detail", ["", "the process runs but does not answer; see /x/kafka.log"])
def test_all_brokers_are_listed_with_name_address_folder_and_age(capsys, detail):
    one = BrokerStatus("kafka", not detail, "127.0.0.1:9092", 5, "/x/kafka.log", "/x/radio", detail, "radio", 0)
    _print_brokers([one])
    shown = capsys.readouterr().out
    for part in ("radio", "127.0.0.1:9092", "kafka", "/x/radio", " d "):
        assert part in shown
    assert ("does not answer" in shown) == bool(detail)
