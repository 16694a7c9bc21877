"""The artifact pair that a worker serves: a tokenizer and a model, verified together before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sidestream.models.artifact import load_model_artifact
from sidestream.models.engine import Engine
from sidestream.models.recommend import CandidateEngine
from sidestream.models.settings import EngineSettings
from sidestream.streams.tokenizing.values import EncodedItems, ItemEncoder
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.catalogue import Vectorize
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import recover_folders
from sidestream.tokenizer.generations import Alignment, load_alignment
from sidestream.tokenizer.sid import Sid
from sidestream.tokenizer.views import ItemContent


class ServedTokenizer(ItemEncoder, Protocol):
    """A tokenizer with the sizes that the catalogue needs."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    @property
    def vector_dim(self) -> int:
        """Components of a representation vector."""
        ...

    def encode_items(self, items: Sequence[ItemContent]) -> EncodedItems:
        """Encode items by what is known of their content."""
        ...

    def additional_sids(self, encoded: Any, max_sids: int, margin: float) -> list[tuple[Sid, ...]]:
        """Find further SIDs of what was encoded."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A tokenizer and the model that was trained on it.

    Attributes:
        tokenizer: Assigns SIDs.
        engine: Runs the model; None where the worker only tokenizes.
        vectorize: Makes model item vectors; None where the worker only tokenizes.
        dim: Dimensions of a model item vector.
        model_version: Sent with the candidates.
        alignments: Maps from the SIDs of older tokenizer versions, one per version, to read stored listens.
    """

    tokenizer: ServedTokenizer
    engine: CandidateEngine | None
    vectorize: Vectorize | None
    dim: int
    model_version: str
    alignments: tuple[Alignment, ...] = ()


_MADE_BY = {
    "tokenizer": "sidestream tokenizer train LOG {folder}/tokenizer",
    "model": "sidestream train model LOG {folder}",
}
SETTING = "artifacts (--set artifacts=…, SIDESTREAM_ARTIFACTS)"


def pair_part(folder: Path, part: Literal["tokenizer", "model"], named: str = "pair folder") -> Path:
    """Find a part of a pair folder.

    Args:
        folder: The pair.
        part: Which part.
        named: What the folder is called in the message of an error.

    Returns:
        The part's folder; its content is not checked.

    Raises:
        ArtifactError: There is no such part.
    """
    recover_folders(folder)
    if not (folder / part).is_dir():
        msg = (
            f"{named} {folder}: expected a {part} in {folder / part}, found none; make one with "
            f"`{_MADE_BY[part].format(folder=folder)}`, or name another folder"
        )
        raise ArtifactError(msg)
    return folder / part


def load_pair(folder: Path, settings: EngineSettings, *, with_model: bool = True, named: str = "pair folder") -> Pair:
    """Load and verify a pair folder.

    Args:
        folder: Contains `tokenizer/` and `model/`, and a folder `alignment…/` for each older version whose listens are
            to be read.
        settings: Engine settings.
        with_model: False loads the tokenizer alone.
        named: What the folder is called in the message of an error.

    Returns:
        The pair.

    Raises:
        ArtifactError: A part is missing or damaged, or the two do not belong together.
    """
    tokenizer_folder = pair_part(folder, "tokenizer", named)
    if not with_model:
        return Pair(load_tokenizer(tokenizer_folder), None, None, 0, "none")
    model_folder = pair_part(folder, "model", named)
    tokenizer = load_tokenizer(tokenizer_folder)
    aligned = sorted(path for path in folder.glob("alignment*") if path.is_dir())
    artifact = load_model_artifact(model_folder, tokenizer.version)
    return Pair(
        tokenizer=tokenizer,
        engine=Engine(artifact, settings),
        vectorize=artifact.item_table.vectorize,
        dim=artifact.item_table.d_model,
        model_version=artifact.version,
        alignments=tuple(load_alignment(path, new_version=tokenizer.version) for path in aligned),
    )
