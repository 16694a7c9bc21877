"""Values in a Java properties file: Java reads back what was written."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.broker.properties import escaped

# What a file name may hold: everything but the slash and NUL; a lone surrogate is no character.
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ODD = [
    "jürgen",
    "日本語",
    "back\\slash",
    "a b",
    " lead",
    "\tab",
    "new\nline",
    "\r",
    "\f",
    "#!:=",
    "𝄞",
    "\\u0041",
    "",
    "a,b",
]
READER = """
import java.io.*;
import java.nio.file.*;
import java.util.*;

class Reader {
    public static void main(String[] arguments) throws IOException {
        Properties properties = new Properties();
        try (InputStream in = Files.newInputStream(Path.of(arguments[0]))) {
            properties.load(in);
        }
        for (int number = 0; number < properties.size(); number++) {
            StringBuilder line = new StringBuilder();
            properties.getProperty("k" + number).chars().forEach(unit -> line.append((int) unit).append(' '));
            System.out.println(line);
        }
    }
}
"""


def read_value(text: str) -> str:
    """Read one logical line `name=value`, by the rules that `java.util.Properties.load` documents."""
    assert "\n" not in text
    assert "\r" not in text
    value = text.partition("=")[2].lstrip(" \t\f")
    units = re.findall(r"\\u([0-9A-Fa-f]{4})|\\(.)|(.)", value)
    plain = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    joined = "".join(chr(int(unit, 16)) if unit else plain.get(after, after) or one for unit, after, one in units)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16")


@given(NAMES)
def test_a_value_is_read_back_unchanged_and_the_file_is_ascii(value: str) -> None:
    text = escaped(value)
    assert text.isascii()
    assert read_value(f"k={text}") == value


@pytest.mark.parametrize("value", ODD)
def test_unusual_values_are_read_back(value: str) -> None:
    assert read_value(f"k={escaped(value)}") == value


def test_java_reads_what_was_written(tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("no Java compiler here")
    values = [*ODD, "".join(map(chr, range(1, 0x250)))]
    file, source = tmp_path / "p.properties", tmp_path / "Reader.java"
    file.write_text("".join(f"k{number}={escaped(value)}\n" for number, value in enumerate(values)))
    source.write_text(READER)
    done = subprocess.run(["java", str(source), str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    read = [b"".join(int(unit).to_bytes(2, "little") for unit in line.split()).decode("utf-16-le") for line in lines]
    assert read[: len(values)] == values
