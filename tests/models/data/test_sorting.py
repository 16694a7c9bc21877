from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.data import sorting
from sidestream.models.data.sorting import ExternalSort, number_key, text_key


@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), max_size=60), st.integers(1, 2_000))
def test_rows_come_back_in_order_however_little_memory_there_is(tmp_path_factory, rows, memory_bytes):
    folder = tmp_path_factory.mktemp("sort")
    sort = ExternalSort(folder, memory_bytes)
    for key, value in rows:
        sort.add(key, value)
    assert list(sort) == sorted(rows)
    assert not list(folder.iterdir())


def test_more_runs_than_may_be_open_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "MAX_RUNS", 3)
    sort = ExternalSort(tmp_path, 1)
    rows = [(number_key(number * 7_919 % 101), b"") for number in range(101)]
    for key, value in rows:
        sort.add(key, value)
        assert len(list(tmp_path.iterdir())) <= 4
    assert list(sort) == sorted(rows)


@given(st.lists(st.tuples(st.text(alphabet="a\0b\u00ff", max_size=3), st.integers(0, 2**63)), max_size=20))
def test_keys_sort_as_their_parts_do(parts):
    keyed = sorted(parts, key=lambda part: text_key(part[0]) + number_key(part[1]))
    assert keyed == sorted(parts, key=lambda part: (part[0].encode(), part[1]))
