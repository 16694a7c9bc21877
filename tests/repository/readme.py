"""Writes what is generated of the pages: `python -m tests.repository.readme` (`make readme`)."""

import re
from collections.abc import Callable
from pathlib import Path

from sidestream.streams.cli.serving.settings_page import settings_page
from tests.repository.pages import README, ROOT

EXAMPLE = ROOT / "streams" / "examples" / "rank_candidates.py"


def readme() -> str:
    """The README with its example as the file has it."""
    block = f"```python\n{EXAMPLE.read_text().strip()}\n```"
    pattern = r"(<!-- example -->\n).*?(<!-- /example -->)"
    text, count = re.subn(pattern, lambda found: f"{found[1]}{block}\n{found[2]}", README.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README: expected one block example, got {count}")
    return text


GENERATED: dict[Path, Callable[[], str]] = {README: readme, ROOT / "deploy" / "settings.md": settings_page}

if __name__ == "__main__":
    for page, made in GENERATED.items():
        page.write_text(made())
