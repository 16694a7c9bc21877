"""Tokenizer artifact: saving a tokenizer to a folder, and loading it after checking every file.

Layout:

* `config.json`: views, levels, kinds, sizes, beam, dimensions, share of content, encoder name and fingerprint, version.
  Format 3. Format 2 (text views only) and format 1 (greedy k-means only) are still read; version strings are the same
  in all three.
* `encoder/`: the files of a content encoder that is not part of an installed package; see encoders/onnx_text.py.
* `arrays/NAME.npy`: every array of `Tokenizer.arrays`, never pickled.
* `metrics.json`: the report of the fit, for information only.
* `drift.json`: the reference for drift detection (drift/reference.py). Older artifacts have none.
* `manifest.json`: SHA-256 of all of these (manifest.py), and `tokenizer_version`.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.drift import DriftReference
from sidestream.tokenizer.encoders import store_encoder, stored_encoder
from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.fitting import SidReport
from sidestream.tokenizer.folders import publish_folder
from sidestream.tokenizer.levels import LevelKind
from sidestream.tokenizer.manifest import MANIFEST_NAME, replace_only, verify_manifest, write_manifest
from sidestream.tokenizer.tokenizer import CatalogTokenizer, Tokenizer

_CONFIG_NAME = "config.json"
_METRICS_NAME = "metrics.json"
_DRIFT_NAME = "drift.json"
_ARRAYS_FOLDER = "arrays"
_ENCODER_FOLDER = "encoder"
_ARTIFACT_KIND = "tokenizer"
replace_tokenizer = replace_only(_ARTIFACT_KIND)
"""The check of `save_tokenizer`, also for `require_place`."""


class TokenizerConfig(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestream-tokenizer-3"] = "sidestream-tokenizer-3"
    version: str = Field(description="Version of the tokenizer; recomputed from the arrays when loaded.")
    views: tuple[str, ...] = Field(description="Views that are fused; empty if only text is read.")
    num_levels: int = Field(description="Codes in a SID.")
    codebook_sizes: tuple[int, ...] = Field(description="Codes of each level.")
    level_kinds: tuple[LevelKind, ...] = Field(description="Kind of each level: kmeans, psrq or fsq.")
    beam_size: int = Field(ge=1, description="Paths kept from level to level while encoding; 1 is greedy.")
    vector_dim: int = Field(description="Dimensions of a representation vector.")
    content_share: float = Field(ge=0.0, le=1.0, description="Share of the squared length that is the content half's.")
    encoder_name: str = Field(description="Name of the content encoder.")
    encoder_fingerprint: str = Field(description="Hash of the encoder's weights and recipe.")


def save_tokenizer(folder: Path, tokenizer: Tokenizer | CatalogTokenizer, report: SidReport | None = None) -> None:
    """Write a tokenizer's artifact; the folder appears under its name only once it is complete.

    Args:
        folder: Destination; an existing tokenizer artifact is replaced.
        tokenizer: The tokenizer. Its encoder is recorded by name and fingerprint; a `CatalogTokenizer` also stores the
            files of an encoder that is not part of an installed package.
        report: Report of the fit, for `metrics.json`.

    Raises:
        ArtifactError: The folder exists and is not a tokenizer artifact.
    """
    arrays_of = tokenizer.tokenizer if isinstance(tokenizer, CatalogTokenizer) else tokenizer
    with publish_folder(folder, replace_tokenizer) as draft:
        (draft / _ARRAYS_FOLDER).mkdir()
        for name, array in arrays_of.arrays().items():
            np.save(draft / _ARRAYS_FOLDER / f"{name}.npy", array, allow_pickle=False)
        if isinstance(tokenizer, CatalogTokenizer):
            store_encoder(tokenizer.encoder, draft / _ENCODER_FOLDER)
        config = _describe(arrays_of)
        (draft / _CONFIG_NAME).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        metrics = asdict(report) if report else {}
        (draft / _METRICS_NAME).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        if isinstance(tokenizer, CatalogTokenizer) and tokenizer.reference is not None:
            (draft / _DRIFT_NAME).write_text(tokenizer.reference.model_dump_json() + "\n", encoding="utf-8")
        write_manifest(draft, {"artifact": _ARTIFACT_KIND, "tokenizer_version": arrays_of.version})


def load_tokenizer(folder: Path, encoder: ContentEncoder | None = None) -> CatalogTokenizer:
    """Load a tokenizer after checking every file, the version, and that the encoder is the one it was fitted with.

    Args:
        folder: Folder written by `save_tokenizer`.
        encoder: The content encoder; None uses the one in the artifact, or the default if it contains none.

    Returns:
        The tokenizer, ready to encode.

    Raises:
        ArtifactError: The folder is missing, damaged, of an unknown layout, or belongs to another encoder.
    """
    manifest = verify_manifest(folder)
    try:
        config = _read_config(folder / _CONFIG_NAME)
        paths = sorted((folder / _ARRAYS_FOLDER).glob("*.npy"))
        tokenizer = Tokenizer.from_arrays(
            {path.stem: np.load(path, allow_pickle=False) for path in paths},
            content_share=config.content_share,
            encoder_name=config.encoder_name,
            encoder_fingerprint=config.encoder_fingerprint,
            level_kinds=config.level_kinds,
            beam_size=config.beam_size,
            views=config.views,
        )
        reference = _read_reference(folder / _DRIFT_NAME, tokenizer)
    except (OSError, ValueError, ValidationError, TokenizerError) as error:
        msg = f"{folder} is not a tokenizer artifact that this version can read: {error}; fit the tokenizer again"
        raise ArtifactError(msg) from error
    found, listed = _describe(tokenizer), manifest.extra.get("tokenizer_version")
    if config != found or listed != found.version:
        msg = (
            f"tokenizer artifact {folder}: its arrays are version {found.version} with codebooks "
            f"{found.codebook_sizes} and {found.vector_dim} dimensions, {_CONFIG_NAME} says {config.version}, "
            f"{config.codebook_sizes}, {config.vector_dim}, and {MANIFEST_NAME} {listed}; fit the tokenizer again"
        )
        raise ArtifactError(msg)
    try:
        if encoder is None:
            encoder = stored_encoder(config.encoder_name, folder / _ENCODER_FOLDER)
        return CatalogTokenizer(tokenizer, encoder, reference)
    except TokenizerError as error:
        msg = f"tokenizer artifact {folder}: {error}"
        raise ArtifactError(msg) from error


def _read_config(path: Path) -> TokenizerConfig:
    fields = json.loads(path.read_bytes())
    if isinstance(fields, dict) and fields.get("format") == "sidestream-tokenizer-1":
        kinds = ["kmeans"] * len(fields.get("codebook_sizes", []))
        fields |= {"format": "sidestream-tokenizer-2", "level_kinds": kinds, "beam_size": 1}
    if isinstance(fields, dict) and fields.get("format") == "sidestream-tokenizer-2":
        fields |= {"format": "sidestream-tokenizer-3", "views": []}
    # Validated from text, since pydantic accepts lists for tuples only in JSON mode.
    return TokenizerConfig.model_validate_json(json.dumps(fields))


def _read_reference(path: Path, tokenizer: Tokenizer) -> DriftReference | None:
    if not path.is_file():
        return None
    reference = DriftReference.model_validate_json(path.read_bytes())
    sizes = tuple(len(counts) for counts in reference.code_counts)
    if sizes != tokenizer.codebook_sizes:
        msg = f"{path.name} has codebook sizes {sizes}, expected {tokenizer.codebook_sizes}"
        raise TokenizerError(msg)
    return reference


def _describe(tokenizer: Tokenizer) -> TokenizerConfig:
    return TokenizerConfig(
        version=tokenizer.version,
        views=tokenizer.views,
        num_levels=tokenizer.num_levels,
        codebook_sizes=tokenizer.codebook_sizes,
        level_kinds=tokenizer.level_kinds,
        beam_size=tokenizer.levels.beam_size,
        vector_dim=tokenizer.vector_dim,
        content_share=tokenizer.representation.content_share,
        encoder_name=tokenizer.encoder_name,
        encoder_fingerprint=tokenizer.encoder_fingerprint,
    )
