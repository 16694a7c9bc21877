"""Writes the generated blocks of the README: `python -m tests.repository.readme` (`make readme`)."""

import re
from pathlib import Path

from sidestream.streams.cli.serving.config import settings_table

ROOT = Path(__file__).resolve().parents[2]


def rewritten(text):
    """The README with its generated blocks written anew."""
    example = (ROOT / "streams/examples/rank_candidates.py").read_text().strip()
    for name, content in (("example", f"```python\n{example}\n```"), ("settings", settings_table())):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda found, c=content: f"{found[1]}{c}\n{found[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"README: expected one block {name}, got {count}")
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text()))
