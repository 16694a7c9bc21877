"""Finds pair folders by tokenizer version, by name, or by path."""

from pathlib import Path

from sidestream.streams.errors import ArtifactError, GenerationError
from sidestream.tokenizer.folders import recover_folder
from sidestream.tokenizer.manifest import verify_manifest


def find_pair(named: str, folder: Path | None) -> tuple[str, str]:
    """Find a pair among the pair folders.

    Args:
        named: Its tokenizer version, the name of its folder, or a path to it.
        folder: The folder of pair folders.

    Returns:
        Tokenizer version and name of the folder.

    Raises:
        GenerationError: There is none, or it is outside the folder that workers read.
        ArtifactError: Its tokenizer is damaged.
    """
    if folder is None or not folder.is_dir():
        msg = (
            f"pair {named!r}: expected generations.folder (SIDESTREAM_GENERATIONS__FOLDER) to be a folder of pairs, "
            f"got {folder}"
        )
        raise GenerationError(msg)
    # A bare name refers to the folder of pairs, even if the working folder has an entry of that name too.
    places = [place.absolute() for place in (folder / named, folder.parent / named, Path(named))]
    for place in places:
        # The pair itself may be a symbolic link.
        if _is_pair(place) and place.parent.resolve() == folder.resolve():
            return _version(place), place.name
    found = {}
    for place in sorted(folder.iterdir()):
        if _is_pair(place):
            try:
                found[_version(place)] = place.name
            except ArtifactError:
                continue  # another pair is damaged; only the requested one must be intact
    if named in found:
        return named, found[named]
    if _is_pair(Path(named)):
        msg = f"pair {named}: workers read pairs from {folder}; copy it there, on every worker's machine"
        raise GenerationError(msg)
    known = ", ".join(f"{version} ({name})" for version, name in found.items()) or "none"
    looked = " and ".join(dict.fromkeys((str(places[0]), str(places[2]))))
    msg = (
        f"pair {named!r}: expected a tokenizer version or a pair folder of {folder}, got neither; looked at {looked}; "
        f"the pairs there are {known}"
    )
    raise GenerationError(msg)


def _is_pair(place: Path) -> bool:
    recover_folder(place / "tokenizer")
    return (place / "tokenizer").is_dir()


def _version(pair: Path) -> str:
    version = verify_manifest(pair / "tokenizer").extra.get("tokenizer_version")
    if not isinstance(version, str):
        msg = f"{pair / 'tokenizer'}: the manifest has no tokenizer version; fit the tokenizer again"
        raise ArtifactError(msg)
    return version
