"""The artifact pair that a worker serves: a tokenizer and a model, verified together before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


def load_pair(folder: Path, settings: EngineSettings, *, with_model: bool = True) -> Pair:
    """Load and verify a pair folder.

    Args:
        folder: Contains `tokenizer/` and `model/`, and a folder `alignment…/` for each older version whose listens are
            to be read.
        settings: Engine settings.
        with_model: False loads the tokenizer alone.

    Returns:
        The pair.

    Raises:
        ArtifactError: A part is missing or damaged, or the two do not belong together.
    """
    recover_folders(folder)
    commands = {"tokenizer": "`sidestream tokenizer train`", "model": "`sidestream train model`"}
    for part in commands if with_model else ("tokenizer",):
        if not (folder / part).is_dir():
            msg = (
                f"artifacts: expected a {part} in {folder / part}, found none; train one with "
                f"{commands[part]}, or point --set artifacts=… (SIDESTREAM_ARTIFACTS) to a folder with "
                "`tokenizer/` and `model/`"
            )
            raise ArtifactError(msg)
    tokenizer = load_tokenizer(folder / "tokenizer")
    if not with_model:
        return Pair(tokenizer, None, None, 0, "none")
    aligned = sorted(path for path in folder.glob("alignment*") if path.is_dir())
    artifact = load_model_artifact(folder / "model", tokenizer.version)
    return Pair(
        tokenizer=tokenizer,
        engine=Engine(artifact, settings),
        vectorize=artifact.item_table.vectorize,
        dim=artifact.item_table.d_model,
        model_version=artifact.version,
        alignments=tuple(load_alignment(path, new_version=tokenizer.version) for path in aligned),
    )
