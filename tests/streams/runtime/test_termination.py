"""SIGTERM and SIGHUP end a coroutine that a command runs, whatever the loop is doing when they arrive."""

import signal
import subprocess
import sys

import pytest

from sidestream.streams.runtime import termination

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])

# A library's callback that swallows whatever is raised inside it; the loop is nearly always within it.
SWALLOWING = """
import asyncio, sys, time
from sidestream.streams.runtime import termination

def callback(loop):
    try:
        time.sleep(0.02)
    except BaseException:
        print("swallowed", flush=True)
    loop.call_soon(callback, loop)

async def main():
    loop = asyncio.get_running_loop()
    loop.call_soon(callback, loop)
    print("running", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up", flush=True)
        {last}

termination.install_handlers()
try:
    termination.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
termination.exit_process(0)
"""


@BOTH
@pytest.mark.parametrize("last", ["pass", "return"], ids=["cancelled", "ends as if nothing were"])
def test_a_signal_cancels_the_coroutine_that_a_command_runs(number, last):
    code = SWALLOWING.format(last=last)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert out.split("\n") == ["cleaned up", "interrupted", ""]
    assert process.returncode == -number


def test_results_and_errors_of_the_coroutine_are_passed_on():
    async def answer():
        return 42

    async def fail():
        raise ValueError("no")

    assert termination.run(answer()) == 42
    with pytest.raises(ValueError, match="no"):
        termination.run(fail())
