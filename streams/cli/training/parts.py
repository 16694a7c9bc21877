"""Parts of a pair folder that a command needs, and what makes them."""

from pathlib import Path
from typing import Literal

from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import recover_folder

Part = Literal["tokenizer", "model"]
_MADE_BY: dict[Part, str] = {
    "tokenizer": "sidestream tokenizer train LOG {folder}/tokenizer",
    "model": "sidestream train model LOG {folder}",
}


def require_parts(pair: Path, *parts: Part) -> None:
    """Refuse a pair folder that lacks a part.

    Args:
        pair: The pair folder.
        *parts: Parts that are needed.

    Raises:
        ArtifactError: One is missing; names the command that makes it.
    """
    for part in parts:
        recover_folder(pair / part)
        if not (pair / part).is_dir():
            msg = (
                f"{pair}: expected a {part} in {pair / part}, found none; make one with "
                f"`{_MADE_BY[part].format(folder=pair)}`, or name another pair folder"
            )
            raise ArtifactError(msg)
