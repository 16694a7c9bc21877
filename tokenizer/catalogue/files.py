"""Files of a frozen catalogue: a folder of `.npy` arrays with a manifest of their hashes.

The folder is written in pieces and published atomically (tokenizer/folders.py). Arrays are memory-mapped when read and
copied once from the mapping, since a store must be able to grow.

Layout, version 2: `<array>.npy` for each array of `Frozen`; `traits.json`; `manifest.json` with the layout version,
`num_seen`, `num_snapshots`, and the caller's fields.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.encoding import Traits
from sidestream.tokenizer.catalogue.frozen import Frozen
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.folders import FolderDraft
from sidestream.tokenizer.manifest import verify_manifest, write_manifest

LAYOUT = 2
_TRAITS = "traits.json"
# Written between two checks of `should_stop`: some ms each, so that a shutdown does not wait.
_CHUNK_BYTES = 8 << 20


def write_frozen(
    folder: Path, frozen: Frozen, facts: Mapping[str, Any], should_stop: Callable[[], bool] = lambda: False
) -> bool:
    """Write a frozen catalogue, using no more memory than one piece of an array.

    Args:
        folder: Destination, which must not exist; its parent is created.
        frozen: The catalogue to write.
        facts: Additional fields of the manifest, JSON values.
        should_stop: Called between pieces; True aborts.

    Returns:
        True once the folder is published; False if it was aborted, and nothing is left on disk.

    Raises:
        OSError: Writing failed; nothing is left on disk.
        ArtifactError: The destination exists.
    """
    with FolderDraft(folder) as draft:
        for name, array in frozen.arrays.items():
            if not _write_array(draft.path / f"{name}.npy", array, should_stop):
                return False
        traits = [(sorted(market), *others) for market, *others in frozen.traits]
        (draft.path / _TRAITS).write_text(json.dumps(traits), encoding="utf-8")
        counts = {"num_seen": frozen.num_seen, "num_snapshots": frozen.num_snapshots}
        write_manifest(draft.path, {"layout": LAYOUT, **counts, **facts})
        if should_stop():
            return False
        draft.publish()
        return True


def read_frozen(folder: Path) -> tuple[Frozen, Mapping[str, Any]]:
    """Verify the hashes of a folder and map its arrays.

    Args:
        folder: Folder written by `write_frozen`.

    Returns:
        The catalogue, and all fields of the manifest.

    Raises:
        ArtifactError: The folder is damaged, or has another layout.
    """
    facts = verify_manifest(folder).extra
    if facts.get("layout") != LAYOUT:
        msg = f"{folder}: expected layout {LAYOUT}, got {facts.get('layout')!r}; written by another release"
        raise ArtifactError(msg)
    try:
        arrays = {
            path.stem: np.load(path, mmap_mode="r" if path.stat().st_size > _CHUNK_BYTES else None, allow_pickle=False)
            for path in sorted(folder.glob("*.npy"))
        }
        listed = json.loads((folder / _TRAITS).read_text(encoding="utf-8"))
        traits = tuple(Traits(frozenset(map(str, market)), *others) for market, *others in listed)
        return Frozen(arrays, traits, int(facts["num_seen"]), int(facts["num_snapshots"])), facts
    except (OSError, ValueError, TypeError, KeyError) as error:
        msg = f"{folder}: not a readable catalogue ({error!r})"
        raise ArtifactError(msg) from error


def _write_array(path: Path, array: npt.NDArray[Any], should_stop: Callable[[], bool]) -> bool:
    rows = max(1, _CHUNK_BYTES // max(1, array.itemsize * int(np.prod(array.shape[1:]))))
    with path.open("wb") as stream:
        np.lib.format.write_array_header_2_0(stream, np.lib.format.header_data_from_array_1_0(array))
        for first in range(0, len(array), rows):
            if should_stop():
                return False
            stream.write(np.ascontiguousarray(array[first : first + rows]).data)
    return True
