"""Draft of a model artifact during training, published when it is complete."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import save_file

from sidestream.models.artifact import (
    ONNX_NAME,
    WEIGHTS_NAME,
    ModelArtifact,
    ModelConfig,
    load_model_artifact,
    replace_model,
    seal,
    write_model_files,
)
from sidestream.models.data import Manifest
from sidestream.models.export import ITEM_VECTORS_TENSOR, export_onnx
from sidestream.models.item_table import ItemTable
from sidestream.models.training.curve import save_curve_picture, save_curve_table
from sidestream.models.training.loop import TrainedGenerator
from sidestream.models.training.settings import TrainSettings
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import FolderDraft
from sidestream.tokenizer.tokenizer import CatalogTokenizer

CURVE_TABLE_NAME = "curve.csv"
CURVE_PICTURE_NAME = "curve.png"


class DraftArtifact:
    """Draft of a model artifact; as a context manager it is discarded unless it was finished.

    Args:
        place: Destination of the finished artifact.
        data: Manifest of the log folder that is trained on.
        tokenizer: The paired tokenizer.
        settings: Training settings.

    Raises:
        ArtifactError: The destination exists and is not a model artifact.
    """

    def __init__(self, place: Path, data: Manifest, tokenizer: CatalogTokenizer, settings: TrainSettings) -> None:
        self._item_table: ItemTable | None = None
        self._config = ModelConfig(
            tokenizer_version=tokenizer.version,
            network=settings.network(tokenizer.codebook_sizes),
            gamma=settings.guide_weights[0][0],
            beta=settings.guide_weights[0][1],
            trained_on=(
                f"{data.name}, {data.counts.listens} listens of {data.counts.listeners} listeners ({data.events_are})"
            ),
        )
        self.network = self._config.network
        self._place = place
        self._draft = FolderDraft(place, replace_model)
        self._folder = self._draft.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draft.discard(error)

    def write(self, trained: TrainedGenerator, item_table: ItemTable) -> ModelArtifact:
        """Write weights, curve, graph and item table.

        Args:
            trained: Network, item vectors and curve.
            item_table: Item table.

        Returns:
            The loaded draft, with the first pair of guide weights.
        """
        weights = {name: value.detach().contiguous() for name, value in trained.model.state_dict().items()}
        save_file({**weights, ITEM_VECTORS_TENSOR: torch.from_numpy(trained.item_vectors)}, self._folder / WEIGHTS_NAME)
        save_curve_table(trained.curve, self._folder / CURVE_TABLE_NAME)
        save_curve_picture(trained.curve, self._folder / CURVE_PICTURE_NAME)
        export_onnx(trained.model, self._folder / ONNX_NAME, self._config.graph_metadata())
        self._item_table = item_table
        return self._save({})

    def set_guide(self, gamma: float, beta: float) -> ModelArtifact:
        """Store the guide weights (of SID log-likelihood and item score) and return the updated draft."""
        self._config = self._config.model_copy(update={"gamma": gamma, "beta": beta})
        return self._save({})

    def finish(self, metrics: Mapping[str, Any]) -> ModelArtifact:
        """Store the metrics (JSON values), publish the artifact and return it."""
        self._save(metrics)
        self._draft.publish()
        return load_model_artifact(self._place)

    def _save(self, metrics: Mapping[str, Any]) -> ModelArtifact:
        if self._item_table is None:
            msg = "model artifact: nothing was written yet; call write() first"
            raise ArtifactError(msg)
        write_model_files(self._folder, self._config, self._item_table, metrics)
        seal(self._folder)
        return load_model_artifact(self._folder)
