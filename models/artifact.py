"""Model artifact: the folder that is served, verified as a whole before any part of it is used.

Layout:

* `model.onnx`: the serving graph, with the versions below in its `metadata_props`.
* `item_table/*.npy`: learned item vectors and the prediction for new ones (`sidestream.models.item_table`).
* `config.json`: `ModelConfig`.
* `metrics.json`: results of training and evaluation.
* `README.md`: the model card.
* `weights.safetensors`: weights for further export; optional, never read for serving.
* `manifest.json`: SHA-256 of all of these, and `tokenizer_version`.

A pair folder contains one of these as `model/` next to its `tokenizer/`. A model is served only with the tokenizer
version that it was trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.models.errors import TrainingError
from sidestream.models.item_table import ItemTable
from sidestream.models.network_config import NetworkConfig
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.manifest import Manifest, replace_only, verify_manifest, write_manifest

FORMAT_VERSION = 1
ONNX_NAME = "model.onnx"
CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.json"
CARD_NAME = "README.md"
WEIGHTS_NAME = "weights.safetensors"
ITEM_TABLE_NAME = "item_table"
_ARTIFACT_KIND = "model"
replace_model = replace_only(_ARTIFACT_KIND)
"""The check of a training that writes a model, also for `require_place`."""
_VERSION_DIGITS = 12


class ModelConfig(BaseModel):
    """The content of `config.json`: everything needed to interpret the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(default=FORMAT_VERSION, description="Version of the folder's layout and of the graph.")
    tokenizer_version: str = Field(
        min_length=1, description="Tokenizer whose SIDs and vectors the model was trained on."
    )
    network: NetworkConfig = Field(description="Shape of the network.")
    gamma: float = Field(default=0.25, ge=0, description="Weight of the SID's log-probability, chosen on validation.")
    beta: float = Field(default=2.0, ge=0, description="Weight of the item score, chosen on validation.")
    trained_on: str = Field(default="", description="Description of the training data.")

    def graph_metadata(self) -> dict[str, str]:
        """Return the metadata that the graph must have: a graph of another export is refused."""
        network = self.network.model_dump(mode="json", exclude={"dropout", "item_vector_dropout"})
        return {
            "format_version": str(self.format_version),
            "tokenizer_version": self.tokenizer_version,
            "network": json.dumps(network, sort_keys=True),
        }


@dataclass(frozen=True, eq=False, slots=True)
class ModelArtifact:
    """A verified artifact.

    Attributes:
        folder: The artifact's folder.
        version: Hash of the served parts: equal versions give equal results.
        config: The configuration.
        item_table: Item vectors.
        metrics: Content of `metrics.json`.
    """

    folder: Path
    version: str
    config: ModelConfig
    item_table: ItemTable
    metrics: Mapping[str, Any]

    @property
    def onnx_path(self) -> Path:
        """The serving graph."""
        return self.folder / ONNX_NAME


def load_model_artifact(folder: Path, tokenizer_version: str | None = None) -> ModelArtifact:
    """Verify a model artifact and read it.

    Args:
        folder: The artifact.
        tokenizer_version: Expected tokenizer version; None accepts any (for inspection, not for serving).

    Returns:
        The artifact, with every file verified.

    Raises:
        ArtifactError: The folder is missing, damaged, of another format, or belongs to another tokenizer.
    """
    manifest = verify_manifest(folder)
    config = _read_config(folder)
    if missing := sorted({ONNX_NAME, CONFIG_NAME, METRICS_NAME} - set(manifest.files)):
        msg = f"model artifact {folder} has no {missing[0]}; export the model again"
        raise ArtifactError(msg)
    if manifest.extra.get("tokenizer_version") != config.tokenizer_version:
        msg = (
            f"model artifact {folder}: manifest names tokenizer {manifest.extra.get('tokenizer_version')!r}, "
            f"{CONFIG_NAME} {config.tokenizer_version!r}; export the model again"
        )
        raise ArtifactError(msg)
    if tokenizer_version is not None and tokenizer_version != config.tokenizer_version:
        msg = (
            f"model artifact {folder} was trained on tokenizer {config.tokenizer_version}, but tokenizer "
            f"{tokenizer_version} is in use; point the settings at the matching pair or train the model again"
        )
        raise ArtifactError(msg)
    table = ItemTable.load(folder / ITEM_TABLE_NAME, config.network.codebook_sizes)
    if table.d_model != config.network.d_model:
        msg = f"model artifact {folder}: item table is {table.d_model} wide, the network {config.network.d_model}"
        raise ArtifactError(msg)
    metrics = json.loads((folder / METRICS_NAME).read_text(encoding="utf-8"))
    return ModelArtifact(folder, model_version(manifest), config, table, metrics)


def require_weights(artifact: ModelArtifact) -> Path:
    """Find the weights of a model.

    Args:
        artifact: The model.

    Returns:
        The file.

    Raises:
        TrainingError: It has none.
    """
    weights = artifact.folder / WEIGHTS_NAME
    if not weights.exists():
        msg = f"{artifact.folder}: expected {WEIGHTS_NAME}, got a model shipped without weights; train it again"
        raise TrainingError(msg)
    return weights


def write_model_files(folder: Path, config: ModelConfig, item_table: ItemTable, metrics: Mapping[str, Any]) -> None:
    """Write all files of an artifact that need no torch, except the manifest.

    Args:
        folder: Destination; created if missing.
        config: Configuration.
        item_table: Item vectors.
        metrics: JSON values only. Omit times if equal trainings must have equal manifests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    item_table.save(folder / ITEM_TABLE_NAME)
    _write_text(folder / CONFIG_NAME, _to_json(config.model_dump(mode="json")))
    _write_text(folder / METRICS_NAME, _to_json(metrics))
    _write_text(folder / CARD_NAME, model_card(config, item_table, metrics))


def seal(folder: Path) -> Manifest:
    """Write the manifest of an artifact whose other files are complete."""
    return write_manifest(folder, {"kind": _ARTIFACT_KIND, "tokenizer_version": _read_config(folder).tokenizer_version})


def model_version(manifest: Manifest) -> str:
    """Return the version, 12 hex digits: a hash of graph and item table, independent of the metrics."""
    serving = {
        name: entry.sha256
        for name, entry in manifest.files.items()
        if name in (ONNX_NAME, CONFIG_NAME) or name.startswith(f"{ITEM_TABLE_NAME}/")
    }
    return hashlib.sha256(json.dumps(serving, sort_keys=True).encode()).hexdigest()[:_VERSION_DIGITS]


def model_card(config: ModelConfig, item_table: ItemTable, metrics: Mapping[str, Any]) -> str:
    """Render the model card.

    Args:
        config: Configuration.
        item_table: Item vectors.
        metrics: Metrics; top-level numbers are listed.

    Returns:
        Markdown with a YAML header.
    """
    network = config.network
    sizes = " x ".join(str(size) for size in network.codebook_sizes)
    figures = [f"| {name} | {value} |" for name, value in sorted(metrics.items()) if isinstance(value, int | float)]
    table = ["| figure | value |", "|---|---|", *figures] if figures else ["No metrics."]
    return "\n".join(
        [
            "---",
            "library_name: sidestream",
            "tags: [recommendation, semantic-ids, onnx]",
            "---",
            "# Sidestream generator",
            "",
            "Ranks audio items for a listener by generating semantic IDs under the constraint of a catalogue.",
            "",
            f"- Trained on: {config.trained_on or 'not stated'}.",
            f"- Tokenizer: `{config.tokenizer_version}` only.",
            f"- Levels: {network.num_levels} ({sizes} codes).",
            f"- Network: {network.num_layers} layers of width {network.d_model}, last {network.max_len} listens.",
            f"- Score: {config.gamma:g} x log-probability of the SID + {config.beta:g} x item score.",
            f"- Known items: {item_table.keys.size}; vectors of all others are predicted from their content.",
            "",
            "## Measured",
            "",
            *table,
            "",
            "Recall is that of each listener's held-out item, with the items of the listener's history left out.",
            "",
            "## Limits",
            "",
            "- Items without listens are rarely ranked high; the service reserves places for them.",
            "- It was trained on one log and reproduces that log's popularity and biases.",
            "",
        ]
    )


def _read_config(folder: Path) -> ModelConfig:
    path = folder / CONFIG_NAME
    try:
        config = ModelConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        msg = f"{path} is not a readable model configuration ({type(error).__name__}); export the model again"
        raise ArtifactError(msg) from error
    if config.format_version != FORMAT_VERSION:
        msg = f"{path} has format {config.format_version}, this code reads {FORMAT_VERSION}; export the model again"
        raise ArtifactError(msg)
    return config


def _to_json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
