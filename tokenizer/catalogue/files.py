"""A frozen catalogue on disk: a folder of `.npy` arrays with a manifest of their hashes.

It is written piece by piece and published whole (tokenizer/folders.py). Arrays are memory-mapped when read and copied
once from there, since a store must be able to grow.

Layout, version 2: `<array>.npy` for each array of `Frozen`; `traits.json`; `manifest.json` with the number of the
layout, `num_seen`, `num_snapshots`, and what the caller adds.
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
# Written between two looks at whether to go on: some ms each, so that a shutdown does not wait.
_CHUNK_BYTES = 8 << 20


def write_frozen(
    folder: Path, frozen: Frozen, facts: Mapping[str, Any], should_stop: Callable[[], bool] = lambda: False
) -> bool:
    """Write a frozen catalogue; takes no more memory than one piece of an array.

    Args:
        folder: Where it shall be; must not exist. Its parent is made.
        frozen: What to write.
        facts: Further fields of the manifest, JSON values.
        should_stop: Asked between pieces; True gives up.

    Returns:
        Whether it is there: False where it was given up, and nothing is left of it.

    Raises:
        OSError: The disk refuses; nothing is left of it.
        ArtifactError: Something lies there already.
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
    """Check a folder byte for byte and map its arrays.

    Args:
        folder: What `write_frozen` wrote.

    Returns:
        The catalogue, and the manifest's further fields.

    Raises:
        ArtifactError: It is damaged, or of another layout.
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
        msg = f"{folder}: cannot be read as a catalogue ({error!r})"
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
