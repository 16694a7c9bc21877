"""Help and reading commands import only what they use; measured by `tests.bench.layout`, held by names here."""

import json
import os
import subprocess
import sys

import pytest

# One process for all of them, from the lightest to the heaviest.
LINES = {
    "--version": {"pydantic", "rich", "numpy", "kafka", "aiokafka", "faust"},
    "--help": {"pydantic", "numpy", "kafka", "aiokafka", "faust"},
    "state --help": {"pydantic", "numpy", "kafka", "aiokafka", "faust"},
    "state get u --set web.port=9": {"numpy", "kafka", "aiokafka", "faust", "msgspec", "structlog"},
    "config show": {"numpy", "kafka", "aiokafka", "faust", "msgspec", "structlog"},
    "topics list": {"numpy", "aiokafka", "faust", "structlog", "onnxruntime"},
    "tail candidates.v1": {"numpy", "aiokafka", "faust", "structlog", "onnxruntime"},
}
PROGRAM = """
import contextlib, io, json, sys
from sidestream.streams.cli.main import main
loaded = {}
for line in json.loads(sys.argv[1]):
    sys.argv = ["sidestream", *line.split()]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main()
    loaded[line] = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded(request, tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(LINES))],
        env=os.environ | {"PYTHONPATH": str(request.config.rootpath)},
        cwd=tmp_path_factory.mktemp("empty"),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", LINES)
def test_a_command_leaves_out_what_it_does_not_use(loaded, line):
    assert not LINES[line] & set(loaded[line])
