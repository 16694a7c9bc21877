"""Reading of external files: all supported formats, and errors with the true cause and line."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.data.importers import json_values, lines
from sidestream.models.data.importers.archives import members
from sidestream.models.data.importers.csv_rows import CsvRows
from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import read_lines, readable_again
from sidestream.models.errors import DataError

ROWS = [{"a": 1, "title": "Ö ]}{[,"}, {"a": [1, {"b": "x\ny"}]}, {"a": None}]
LINES = [json.dumps(row) for row in ROWS]
LAYOUTS = {
    "lines": "\n".join(LINES) + "\n",
    "no last line end": "\n".join(LINES),
    "crlf": "\r\n".join(LINES) + "\r\n",
    "blank lines": "\n\n" + "\n \n\t\n".join(LINES) + "\n\n\n",
    "array": json.dumps(ROWS),
    "array of lines": "[\n" + ",\n".join(LINES) + "\n]\n",
    "pretty array": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "pretty values": "\n".join(json.dumps(row, indent=2) for row in ROWS),
}
PACKINGS = {
    "plain": lambda data: data,
    "bom": lambda data: codecs.BOM_UTF8 + data,
    "gzip": gzip.compress,
    "gzip bom": lambda data: gzip.compress(codecs.BOM_UTF8 + data),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_packing_gives_the_same_values(tmp_path, layout, packing):
    path = tmp_path / "named-as-anything.dat"
    path.write_bytes(PACKINGS[packing](LAYOUTS[layout].encode()))
    assert [json.loads(text) for _, text in read_json(path)] == ROWS


@pytest.mark.parametrize("layout", ["lines", "blank lines", "array", "pretty array"])
def test_standard_input_is_a_file_too(monkeypatch, layout):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(LAYOUTS[layout].encode()))))
    source = readable_again("-")
    for _ in range(2):
        assert [json.loads(text) for _, text in read_json(source)] == ROWS


def test_lines_keep_their_numbers(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbf\r\n{}\n\n \n[1]\n")
    assert list(read_json(path)) == [(2, b"{}"), (5, b"[1]")]
    path.write_bytes(b'\n[\n {"a": 1},\n\n {"b":\n 2}]')
    assert [line for line, _ in read_json(path)] == [3, 5]


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=6),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        )
    ),
    st.integers(1, 30),
    st.sampled_from([None, 1]),
)
def test_arrays_do_not_depend_on_how_the_file_is_cut(values, chunk_bytes, indent):
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode(errors="surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    before, json_values.CHUNK_BYTES = json_values.CHUNK_BYTES, chunk_bytes
    try:
        source = lines.Source("f", lambda: io.BytesIO(data))
        assert [json.loads(text) for _, text in read_json(source)] == values
    finally:
        json_values.CHUNK_BYTES = before


def test_an_array_larger_than_a_block_is_read_in_pieces(tmp_path):
    path = tmp_path / "f.json"
    rows = [{"n": number, "text": "x" * 500} for number in range(3_000)]
    path.write_text(json.dumps(rows))
    assert [json.loads(text) for _, text in read_json(path)] == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"a": 1},\n {"a": }]', "f:2: expected JSON"),
        (b'[{"a": 1}\n {"a": 2}]', "f:2: expected , or ]"),
        (b'[{"a": 1},\n', "f:2: expected a JSON value, got 'the end of the file'"),
        (
            b'[{"a": 1},\n{"b": 2},\n]\n',
            "f:3: expected a JSON value after the comma; JSON has none after the last value",
        ),
        (b'[{"a": 1},\n{"b": 2},\n]', "got ']'"),
        (b'[{"a": 1},\n{"b": 2,\n}]\n', "a comma after the last value of an object or a list is not JSON), got '"),
        (b"[{'a': 1}]", "f:1: expected JSON (looks like the printed form of a Python dict; expected JSON), got \"'a'"),
        (b'[{"a": "x', "got '\"x'"),
        (b'[{"a": 1}] {"b": 1}', "f:1: expected nothing after the array"),
        (b'{\n "a": 1,\n "b": oops\n}', "f:3: expected JSON"),
        ("{}".encode("utf-16"), "f: expected text, got UTF-16 text; save it as UTF-8"),
        ("{}\n{}".encode("utf-16-le"), "f: expected text, got UTF-16 text without a byte order mark; save it as UTF-8"),
        ("user,item".encode("utf-16-be"), "f: expected text, got UTF-16 text without a byte order mark"),
        (b"PK\x03\x04rest", "f: expected text, got a zip archive"),
        (b"\x28\xb5\x2f\xfdrest", "f: expected text, got a file compressed with zstd"),
        (gzip.compress(b'{"a": 1}\n' * 9_000)[:-200], "f: expected a whole compressed file"),
        (b"\x1f\x8b\x08garbage", "f: expected a whole compressed file"),
        (lzma.compress(b'{"a": 1}\n' * 99)[:-20], "f: expected a whole compressed file"),
    ],
)
def test_unreadable_files_report_the_true_cause(tmp_path, content, words):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_json(tmp_path / "f"))
    assert words in str(caught.value)


def test_a_missing_file_and_an_endless_line_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"absent: expected a readable file, got No such file"):
        list(read_lines(tmp_path / "absent"))
    with pytest.raises(DataError, match="Is a directory"):
        list(read_lines(tmp_path))
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    (tmp_path / "f").write_bytes(b"short\n" + b"x" * 50)
    with pytest.raises(DataError, match=r"f:2: expected a line of"):
        list(read_lines(tmp_path / "f"))


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_csv_in_any_packing(tmp_path, packing, delimiter):
    text = f'user{delimiter}text\r\n\r\nu1{delimiter}"two\r\nlines"\r\nu2{delimiter}b\r\n'
    (tmp_path / "f").write_bytes(PACKINGS[packing](text.encode()))
    rows = CsvRows(tmp_path / "f")
    assert list(rows) == [(3, ["u1", "two\nlines"], None), (5, ["u2", "b"], None)]
    assert rows.columns == ("user", "text")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "f:1: expected a header"),
        (b"a,b,a\n1,2,3\n", "f:1: expected every column once in the header (--columns"),
        (b"a,\xff\n1,2\n", "f:1: expected a header of column names; expected UTF-8, got byte ff in 'a,\ufffd' at"),
        (b'a,"b\n' + b"1,2\n" * 9, "f:1: expected a header of column names; expected a field that begins with a quote"),
        (b'{"a": 1}\n', "f:1: expected CSV with a header, not JSON (`sidestream import jsonl`)"),
        (b'[\n{"a": 1}]\n', "f:1: expected CSV with a header, not JSON"),
        (b"a,b\r1,2\r3,4\r", "f:1: expected lines that end in LF or CRLF, got CR alone"),
    ],
)
def test_csv_faults_name_the_line(tmp_path, content, words):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(CsvRows(tmp_path / "f"))
    assert words in str(caught.value)


PLAYS = [f"u{n % 7},{1_767_571_200 + n},Art {n % 5},Song {n}" for n in range(3_000)]


def csv_of(tmp_path, changes):
    """3,000 plays, of which some have another title; their lines in the file begin with 2."""
    changed = [line.rpartition(",")[0] + f",{changes[n]}" if n in changes else line for n, line in enumerate(PLAYS)]
    (tmp_path / "f").write_text("\n".join(["user,at,artist,title", *changed]))
    return list(CsvRows(tmp_path / "f"))


@pytest.mark.parametrize(
    ("changes", "damaged"),
    [
        ({900: '"Never closed'}, [900]),
        ({2_990: '"Never closed, near the end'}, [2_990]),
        ({2_999: '"Never closed in the last row'}, [2_999]),
        ({10: '"Opens', 50: 'Closes"'}, [10]),
        ({10: '"Opens', 11: 'Closes"'}, [10]),
        ({10: '"Opens', 50: '"Opens too'}, [10, 50]),
        ({10: '"Opens', 50: 'A "word" inside'}, [10]),
        ({10: '"Opens', 50: '"A, B"'}, [10]),
        ({10: '"Opens', 30: "too, many, fields", 50: 'Closes"'}, [10, 30]),
        ({10: f'"{"x" * 200_000}"'}, [10]),
        ({n: '"Opens' for n in range(0, 3_000, 3)}, [*range(0, 3_000, 3)]),
    ],
)
def test_a_stray_quote_damages_its_row_alone(tmp_path, changes, damaged):
    found = csv_of(tmp_path, changes)
    assert [row.line for row in found] == [*range(2, 3_002)]
    assert [row.line - 2 for row in found if row.fault] == damaged
    assert all("expected" in row.fault for row in found if row.fault)


@pytest.mark.parametrize(
    ("title", "read"),
    [
        ('"two\nlines"', "two\nlines"),
        ('"one, two\nthree, four, five\nsix"', "one, two\nthree, four, five\nsix"),
        ('"one\nand, with, three, commas"', "one\nand, with, three, commas"),
        ('"said ""so""\nand left"', 'said "so"\nand left'),
        ('"Heroes" (live)', "Heroes (live)"),
        ('12" mix', '12" mix'),
        ('"' + "line\n" * 900 + '"', "line\n" * 900),
    ],
)
def test_texts_of_several_lines_and_quotes_inside_a_line_stay(tmp_path, title, read):
    found = csv_of(tmp_path, {10: title})
    assert len(found) == 3_000
    assert not [row for row in found if row.fault]
    assert found[10].fields[3] == read


def test_texts_of_several_lines_in_the_first_column_and_in_tables_of_two(tmp_path):
    (tmp_path / "f").write_text('title,id\n"one\ntwo",1\n"three, four\nfive",2\n')
    assert [row.fields for row in CsvRows(tmp_path / "f")] == [["one\ntwo", "1"], ["three, four\nfive", "2"]]
    (tmp_path / "f").write_text('id,text\nep-1,"Hello\nand you, too"\n')
    assert [row.fields for row in CsvRows(tmp_path / "f")] == [["ep-1", "Hello\nand you, too"]]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_line_with_the_delimiter(tmp_path, first):
    (tmp_path / "f").write_text(f"{first}\r\na;b,c,d\r\n1;2\r\n")
    rows = CsvRows(tmp_path / "f")
    assert list(rows) == [(3, ["1", "2"], None)]
    assert rows.columns == ("a", "b,c,d")


def test_json_with_the_line_ends_of_old_macs(tmp_path):
    (tmp_path / "f").write_bytes(b'{"a": 1}\r{"a": 2}\r')
    with pytest.raises(DataError, match="got CR alone"):
        list(read_json(tmp_path / "f"))
    (tmp_path / "f").write_bytes(b'[{"a": 1},\r{"a": 2}]\r')
    assert len(list(read_json(tmp_path / "f"))) == 2


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 18])
def test_a_byte_that_is_not_utf8_damages_its_value_alone(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(json_values, "CHUNK_BYTES", chunk_bytes)
    values = [b'{"t": "\xc3\xb6"}', b'{"t": "Bj\xf6rk"}', b'{"t": 3}']
    for joined in (b"[" + b",".join(values) + b"]", b"{\n" + b"\n".join(values)[1:], b"\n".join(values)):
        (tmp_path / "f").write_bytes(joined)
        assert [b"".join(text.split(b"\n")) for _, text in read_json(tmp_path / "f")] == values


def test_a_byte_that_is_not_utf8_damages_its_row_of_a_table_alone(tmp_path):
    (tmp_path / "f").write_bytes(b'a,b\n1,\xc3\xb6\n2,Bj\xf6rk\n"3\n4",\xf6\n5,"\xf6\n6,x\n')
    first, second, third, fourth, last = CsvRows(tmp_path / "f")
    assert (first, last) == ((2, ["1", "\u00f6"], None), (7, ["6", "x"], None))
    assert second.fault == (
        "expected UTF-8, got byte f6 in '2,Bj\ufffdrk' at character 5 (looks like ISO 8859-1 or Windows-1252 text; "
        "save the file as UTF-8)"
    )
    assert [(row.line, "byte f6" in row.fault) for row in (third, fourth)] == [(4, True), (6, True)]


@pytest.mark.parametrize("joint", [b"", b"\n", b"\r\n"])
def test_joined_files_have_a_bom_inside(tmp_path, joint):
    part = codecs.BOM_UTF8 + b'{"a": 1}\n'
    (tmp_path / "f").write_bytes(part + joint + part)
    assert [text for _, text in read_json(tmp_path / "f")] == [b'{"a": 1}'] * 2
    part = codecs.BOM_UTF8 + b'{\n"a": 1}\n'
    (tmp_path / "f").write_bytes(part + joint + part)
    assert [text for _, text in read_json(tmp_path / "f")] == [b'{\n"a": 1}'] * 2
    (tmp_path / "f").write_bytes(codecs.BOM_UTF8 + b"a,b\n" + codecs.BOM_UTF8 + b"u,1\n" + codecs.BOM_UTF8 + b"\n")
    assert [row.fields for row in CsvRows(tmp_path / "f")] == [["u", "1"]]


def test_folders_and_archives_give_the_same_members(tmp_path):
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    for name in ("b.json", "in/a.json", "note.txt"):
        (folder / name).write_text(json.dumps({"name": name}))
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("__MACOSX/in/a.json", "junk")
        for name in ("in/a.json", "b.json", "note.txt"):
            archive.write(folder / name, name)
    for mode, name in (("w", "f.tar"), ("w:xz", "f.tar.xz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(folder, ".")
    for place in (folder, tmp_path / "f.zip", tmp_path / "f.tar", tmp_path / "f.tar.xz"):
        found = {}
        for member in members(place, lambda path: path.suffix == ".json"):
            ((_, text),) = read_json(member.source)
            found[str(member.path)] = json.loads(text)["name"]
        assert found == {"b.json": "b.json", "in/a.json": "in/a.json"}
    (tmp_path / "bad.zip").write_bytes((tmp_path / "f.zip").read_bytes()[:60])
    with pytest.raises(DataError, match=r"bad\.zip: expected a readable archive"):
        list(members(tmp_path / "bad.zip", lambda path: True))
    with pytest.raises(DataError, match="absent"):
        list(members(tmp_path / "absent", lambda path: True))
