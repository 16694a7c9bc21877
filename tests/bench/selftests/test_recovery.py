"""The changelog that restores are measured with: what it holds, and what it amounts to."""

import pytest

from sidestream.models.history import split_block_key
from sidestream.models.history.layout import decode
from tests.bench.fleet.changelog import make_changelog
from tests.bench.support.rig import partition_of
from tests.bench.support.work import contents

ORIGIN = (b"\xff\xfforigin", b"{}")


@pytest.fixture(scope="module")
def changelog():
    return make_changelog(3_000, 4, ORIGIN)


def test_changelog_amounts_to_its_final_tables(changelog):
    for number, (transactions, final) in enumerate(zip(changelog.log, changelog.final, strict=True)):
        table = {}
        for values, is_aborted in transactions:
            if not is_aborted:
                table.update(values)
        assert {key: value for key, value in table.items() if value is not None} == final
        assert transactions[0].values == dict([ORIGIN])
        for key in table:
            if key != ORIGIN[0]:
                slot = split_block_key(key)
                assert partition_of(key if slot is None else slot[0], 4) == number
                if slot is None and table[key] is not None:
                    decode(table[key])


def test_changelog_has_every_kind_of_record_in_every_partition(changelog):
    shares = changelog.shares()
    assert min(shares.values()) > 0
    assert shares["records"] == pytest.approx(3_000, rel=0.2)
    assert all(any(one.is_aborted for one in transactions) for transactions in changelog.log)


def test_contents_do_not_depend_on_the_order_but_on_each_byte():
    rows = [(b"a", b"1"), (b"b", b"2"), (b"ab", b"")]
    assert contents(rows) == contents(reversed(rows))
    assert contents(rows)["keys"] == 3
    assert contents(rows) != contents([(b"a", b"2"), (b"b", b"1"), (b"ab", b"")])
    assert contents([(b"a", b"b")]) != contents([(b"ab", b"")])
