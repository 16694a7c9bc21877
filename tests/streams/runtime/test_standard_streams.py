"""Standard streams that are closed when the process starts, or whose encoding lacks characters."""

import os
import subprocess
import sys

import pytest

# What a program opens after the preparation gets none of the first three descriptors.
PROGRAM = """
import os, subprocess, sys
from sidestream.streams.runtime.standard_streams import prepare_standard_streams
prepare_standard_streams()
with open({path!r}, "w") as file:
    assert file.fileno() > 2, file.fileno()
    assert sys.stdin.read() == ""
    for stream in (sys.stdout, sys.stderr):
        print("text", file=stream, flush=True)
        assert not stream.isatty()
        assert stream.encoding
    os.write(1, b"bytes")
    child = "import sys; assert sys.stdin.read() == ''; print('child'); print('child', file=sys.stderr)"
    subprocess.run([sys.executable, "-c", child], check=True)
    file.write("fine")
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams_become_the_null_device(tmp_path, request, closed):
    path = tmp_path / "file"

    def close():
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=str(path))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(request.config.rootpath)},
        preexec_fn=close,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"" if 2 in closed else b"text\nchild\n")
    assert done.stdout == (b"" if 1 in closed else b"text\nbyteschild\n")
    assert path.read_text() == "fine"


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", r"B\xf6... - \u65e5"), ("latin-1", r"Bö... - \u65e5")])
def test_a_character_that_the_encoding_lacks_is_replaced(request, encoding, expected):
    program = (
        "from sidestream.streams.runtime.standard_streams import prepare_standard_streams as prepare\n"
        "prepare(); prepare()\n"
        r"print('B\xf6\u2026 \u2013 \u65e5')"
    )
    env = os.environ | {"PYTHONPATH": str(request.config.rootpath), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, check=True)
    assert done.stdout.decode(encoding).strip() == expected
