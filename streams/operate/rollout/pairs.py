"""Pair folders as an operator names them: by tokenizer version, by name, or by path."""

from pathlib import Path

from sidestream.streams.errors import ArtifactError, GenerationError
from sidestream.tokenizer.manifest import verify_manifest


def find_pair(named: str, folder: Path | None) -> tuple[str, str]:
    """Find a pair among the pair folders.

    Args:
        named: Its tokenizer version, the name of its folder, or a path to it.
        folder: The folder of pair folders.

    Returns:
        Tokenizer version and name of the folder.

    Raises:
        GenerationError: There is none, or it lies where workers do not look.
        ArtifactError: Its tokenizer is damaged.
    """
    if folder is None or not folder.is_dir():
        msg = (
            f"pair {named!r}: expected generations.folder (SIDESTREAM_GENERATIONS__FOLDER) to be a folder of pairs, "
            f"got {folder}"
        )
        raise GenerationError(msg)
    path = Path(named)
    if (path / "tokenizer").is_dir() and path.resolve().parent != folder.resolve():
        msg = f"pair {path}: workers look in {folder}; copy it there, on every worker's machine"
        raise GenerationError(msg)
    if (folder / path.name / "tokenizer").is_dir():
        return _version(folder / path.name), path.name
    found = {}
    for place in sorted(folder.iterdir()):
        if (place / "tokenizer").is_dir():
            try:
                found[_version(place)] = place.name
            except ArtifactError:
                continue  # somebody else's; only the one that is asked for must be whole
    if named not in found:
        known = ", ".join(f"{version} ({name})" for version, name in found.items()) or "none"
        msg = f"pair {named!r}: expected one of those in {folder}, which are {known}"
        raise GenerationError(msg)
    return named, found[named]


def _version(pair: Path) -> str:
    version = verify_manifest(pair / "tokenizer").extra.get("tokenizer_version")
    if not isinstance(version, str):
        msg = f"{pair / 'tokenizer'}: its manifest names no tokenizer version; fit the tokenizer again"
        raise ArtifactError(msg)
    return version
