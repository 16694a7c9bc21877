"""`manifest.json` of an artifact folder: its files with their SHA-256, written last and verified first.

Layout, JSON with sorted keys:

* `schema_version`: 1.
* `files`: for each file below the folder, by its path with forward slashes: `sha256` (hex) and `bytes`.
* `content_sha256`: SHA-256 over all other fields, so equal content has an equal hash on every machine.
* any additional field of the artifact, for example `tokenizer_version`.

A folder is valid only if it contains exactly the listed files: missing, additional and changed files are refused.
Nothing here is secret or signed: the manifest detects damage and mix-ups, not forgery.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import recover_folder

MANIFEST_NAME = "manifest.json"
_SCHEMA_VERSION = 1
_CHUNK_BYTES = 1 << 20


class FileEntry(BaseModel):
    """Hash and size of one file of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file's bytes, hex.")
    bytes: int = Field(ge=0, description="Size of the file.")


class Manifest(BaseModel):
    """The content of `manifest.json`; fields other than the three below are the artifact's own (`extra`)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_version: int = Field(description="Version of this layout.")
    files: dict[str, FileEntry] = Field(description="The folder's files by relative path.")
    content_sha256: str = Field(description="SHA-256 over all other fields, hex.")

    @property
    def extra(self) -> dict[str, Any]:
        """The additional fields given to `write_manifest`."""
        return dict(self.model_extra or {})


def write_manifest(folder: Path, extra: Mapping[str, Any]) -> Manifest:
    """Hash every file below a folder and write its manifest; call it when all other files are complete.

    Args:
        folder: The artifact folder. An existing manifest is replaced atomically.
        extra: Additional fields, JSON values only. They are part of `content_sha256`, so omit times and machine names
            if equal content must have an equal hash.

    Returns:
        The manifest as written.

    Raises:
        ArtifactError: The folder is missing, or an additional field has the name of a manifest field.
    """
    _require_folder(folder)
    if clash := sorted(set(extra) & set(Manifest.model_fields)):
        msg = f"manifest of {folder}: fields {clash} are the manifest's own; give the extra fields other names"
        raise ArtifactError(msg)
    fields: dict[str, Any] = {
        **extra,
        "schema_version": _SCHEMA_VERSION,
        "files": {name: _entry(folder / name).model_dump() for name in _list_files(folder)},
    }
    fields["content_sha256"] = _content_sha256(fields)
    temporary = folder / f".{MANIFEST_NAME}.tmp"
    temporary.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST_NAME)
    return Manifest.model_validate(fields)


def verify_manifest(folder: Path) -> Manifest:
    """Verify a folder against its manifest before anything in it is used.

    Args:
        folder: The artifact folder.

    Returns:
        The manifest, every file of which is present and unchanged.

    Raises:
        ArtifactError: The folder or its manifest is missing or unreadable, or a file is missing, changed or unlisted.
    """
    _require_folder(folder)
    manifest = _read_manifest(folder)
    present, listed = set(_list_files(folder)), set(manifest.files)
    if missing := sorted(listed - present):
        msg = f"artifact {folder} lacks {missing[0]} ({len(missing)} of {len(listed)} files missing); copy it again"
        raise ArtifactError(msg)
    if unlisted := sorted(present - listed):
        msg = f"artifact {folder} holds {unlisted[0]}, which {MANIFEST_NAME} does not list; remove it or copy again"
        raise ArtifactError(msg)
    for name, expected in manifest.files.items():
        found = _entry(folder / name)
        if found != expected:
            msg = (
                f"artifact {folder}: {name} is damaged; expected {expected.bytes} bytes with SHA-256 "
                f"{expected.sha256[:12]}, got {found.bytes} bytes with {found.sha256[:12]}; copy it again or rebuild it"
            )
            raise ArtifactError(msg)
    return manifest


def replace_only(kind: str) -> Callable[[Path], None]:
    """Create a check that allows an artifact to replace only one of its own kind.

    Args:
        kind: Value of the manifest field `artifact`, or of `kind` in a model's manifest.

    Returns:
        A check for `publish_folder`; raises `ArtifactError`.
    """

    def check(place: Path) -> None:
        try:
            fields = json.loads((place / MANIFEST_NAME).read_text(encoding="utf-8"))
            found = fields.get("artifact") or fields.get("kind")
        except (OSError, ValueError, AttributeError):
            found = None
        if found != kind:
            msg = (
                f"{place} exists and is not an artifact of kind {kind}, so it is not replaced; "
                "give an empty or a new folder"
            )
            raise ArtifactError(msg)

    return check


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(fields)
    except FileNotFoundError as error:
        msg = f"artifact {folder} has no {MANIFEST_NAME}; it is incomplete or not an artifact: copy or build it again"
        raise ArtifactError(msg) from error
    except (OSError, ValueError, ValidationError) as error:
        msg = f"{path} is not a readable manifest ({type(error).__name__}); copy or build the artifact again"
        raise ArtifactError(msg) from error
    if manifest.schema_version != _SCHEMA_VERSION:
        msg = (
            f"{path} has schema version {manifest.schema_version}, this code reads {_SCHEMA_VERSION}; "
            "build the artifact again with this version"
        )
        raise ArtifactError(msg)
    found = _content_sha256({key: value for key, value in fields.items() if key != "content_sha256"})
    if found != manifest.content_sha256:
        msg = (
            f"{path} was changed by hand: expected content_sha256 {manifest.content_sha256[:12]}, got {found[:12]}; "
            "copy or build the artifact again"
        )
        raise ArtifactError(msg)
    return manifest


def _require_folder(folder: Path) -> None:
    recover_folder(folder)
    if not folder.is_dir():
        msg = f"artifact folder {folder} is missing; check the path, or train and export it"
        raise ArtifactError(msg)


def _list_files(folder: Path) -> list[str]:
    # Hidden files (a file browser's, an unfinished manifest) are not content.
    relative = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        path.as_posix()
        for path in relative
        if path.as_posix() != MANIFEST_NAME and not any(part.startswith(".") for part in path.parts)
    ]


def _entry(path: Path) -> FileEntry:
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return FileEntry(sha256=digest.hexdigest(), bytes=size_bytes)


def _content_sha256(fields: Mapping[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
