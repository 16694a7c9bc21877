"""What the README shows is what there is."""

import re
from pathlib import Path

from sidestream.streams.worker.watch.watchdog import ExitCode
from tests.repository.readme import rewritten

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_generated_blocks_are_up_to_date():
    assert rewritten(README) == README, "run `make readme`"


def test_named_commands_and_files_exist():
    for path in re.findall(r"`((?:streams|models|tokenizer)/[\w/]+\.py)`", README):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_every_exit_code_is_in_the_table():
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)] == list(ExitCode)
