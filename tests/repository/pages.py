"""The pages of the repository, read as what they show: commands, code, links, paths."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = (
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "streams" / "README.md",
    ROOT / "models" / "README.md",
    ROOT / "models" / "data" / "README.md",
    ROOT / "tokenizer" / "README.md",
    ROOT / "deploy" / "README.md",
    ROOT / "deploy" / "settings.md",
    ROOT / "tests" / "README.md",
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the `##` section that it is in."""

    section: str
    language: str
    text: str
    is_generated: bool

    @property
    def commands(self):
        """What is typed in it: the lines behind `$ `, with their continuations."""
        if self.language != "console":
            return []
        typed = re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)", self.text, re.MULTILINE)
        return [re.sub(r"\\\n\s*", "", line) for line in typed]


def blocks(text):
    """All fenced blocks of a page."""
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        headings = re.findall(r"^## (.*)$", _FENCE.sub("", before), re.MULTILINE)
        is_generated = before.rstrip().endswith(" -->") and not before.rstrip().rpartition("<!--")[2].startswith(" /")
        found.append(Block(headings[-1] if headings else "", fence[1], fence[2], is_generated))
    return found


def prose(text):
    """A page without its fenced blocks, and with inline code on one line."""
    return re.sub(r"`[^`\n]+\n[^`\n]+`", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), _FENCE.sub("", text))


def inline_code(text):
    """What stands in backticks in the prose of a page."""
    return re.findall(r"`([^`]+)`", prose(text))


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text):
    """The targets of a page's links that lead to no other site."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in target]
