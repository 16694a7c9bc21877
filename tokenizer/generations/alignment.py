"""Alignment map between two tokenizer versions: old SID to new SID, and its artifact folder.

A listen stored under an old version is read by a model of a new one: if the catalogue no longer has the item, the map
gives the SID that the new version assigned to items with the same old SID. An old SID that no common item had is
translated by its longest prefix that one had. A first code that no item had stays unknown.

Layout of the folder: `alignment.json` (versions, sizes, agreement), `arrays/*.npy` (never pickled), and `manifest.json`
with the SHA-256 of all of these.

Legend: N SIDs, L levels of the old version, M levels of the new one, P_l old prefixes of l codes.

Source: arXiv 2604.13273 (refreshed SIDs aligned to the old vocabulary by common items). There one code is matched to
one code, level by level, so that a checkpoint can be kept (`code_maps`); histories are translated by whole prefixes,
since a residual code has a different meaning after each prefix.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.folders import publish_folder
from sidestream.tokenizer.manifest import replace_only, verify_manifest, write_manifest

Codes = npt.NDArray[np.int32]

FORMAT = "sidestream-alignment-1"
_ARTIFACT_KIND = "alignment"
replace_alignment = replace_only(_ARTIFACT_KIND)
"""The check of `Alignment.save`, also for `require_place`."""
_FACTS_NAME = "alignment.json"
_ARRAYS_FOLDER = "arrays"
_GROUPS = ("nodes", "targets", "code_map")
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Alignment:
    """Frozen map from the SIDs of one version to those of another.

    Attributes:
        old_version: Tokenizer version of the SIDs it takes.
        new_version: Tokenizer version of the SIDs it gives.
        old_sizes: Codes of each level of the old version, L of them.
        new_sizes: Codes of each level of the new version, M of them.
        nodes: For each length l the known old prefixes, ascending: index of the prefix one code shorter, times the
            codes of the level, plus the last code. Shape of each: (P_l,).
        targets: For each length the new SID of each prefix. Shape of each: (P_l, M).
        code_maps: For each level that both versions have, the new code matched to each old one, no new code twice;
            -1 for none. Shape of each: (codes of the old level,).
        agreement: Agreement measured when the map was fitted, for information only.
    """

    old_version: str
    new_version: str
    old_sizes: tuple[int, ...]
    new_sizes: tuple[int, ...]
    nodes: tuple[npt.NDArray[np.int64], ...]
    targets: tuple[npt.NDArray[np.uint16], ...]
    code_maps: tuple[Codes, ...]
    agreement: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := self._problem():
            msg = f"alignment {self.old_version} -> {self.new_version}: {problem}; compare the tokenizers again"
            raise TokenizerError(msg)
        for array in self._arrays().values():
            array.setflags(write=False)

    def translate(self, codes: Codes) -> Codes:
        """Translate SIDs of the old version to the new one.

        Args:
            codes: Old SIDs; a code outside its level counts as unknown from there on.

                Shape: (N, L).

        Returns:
            New SIDs; rows of -1 where not even the first code is known.

            Shape: (N, M).

        Raises:
            TokenizerError: The SIDs have a different number of levels.
        """
        if codes.ndim != 2 or codes.shape[1] != len(self.old_sizes):
            msg = (
                f"SIDs to translate from version {self.old_version}: expected shape (num_sids, {len(self.old_sizes)}), "
                f"got {codes.shape}; use SIDs of that version"
            )
            raise TokenizerError(msg)
        found: Codes = np.full((len(codes), len(self.new_sizes)), UNKNOWN, dtype=np.int32)
        rows, places = np.arange(len(codes)), np.zeros(len(codes), dtype=np.int64)
        for level, (size, nodes, targets) in enumerate(zip(self.old_sizes, self.nodes, self.targets, strict=True)):
            column = codes[rows, level]
            places = find(nodes, places * size + column)
            known = (column >= 0) & (column < size) & (places >= 0)
            rows, places = rows[known], places[known]
            found[rows] = targets[places]
        return found

    def save(self, folder: Path) -> None:
        """Write the map; the folder appears under its name only once it is complete.

        Args:
            folder: Destination; an existing alignment is replaced.

        Raises:
            ArtifactError: The folder exists and is not an alignment.
        """
        versions = {"old_version": self.old_version, "new_version": self.new_version}
        facts = {
            "format": FORMAT,
            **versions,
            "old_sizes": self.old_sizes,
            "new_sizes": self.new_sizes,
            "agreement": self.agreement,
        }
        with publish_folder(folder, replace_alignment) as draft:
            (draft / _ARRAYS_FOLDER).mkdir()
            for name, array in self._arrays().items():
                np.save(draft / _ARRAYS_FOLDER / f"{name}.npy", array, allow_pickle=False)
            (draft / _FACTS_NAME).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            write_manifest(draft, {"artifact": _ARTIFACT_KIND, **versions})

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        arrays |= {f"nodes_{level:02d}": array for level, array in enumerate(self.nodes)}
        arrays |= {f"targets_{level:02d}": array for level, array in enumerate(self.targets)}
        return arrays | {f"code_map_{level:02d}": array for level, array in enumerate(self.code_maps)}

    def _problem(self) -> str | None:
        levels = len(self.old_sizes)
        if not levels or not self.new_sizes or {len(self.nodes), len(self.targets)} != {levels}:
            return f"expected prefixes and targets for each of {levels} levels"
        if len(self.code_maps) != min(levels, len(self.new_sizes)):
            return "expected one map of codes for each level that both versions have"
        above = 1
        for level, (size, nodes, targets) in enumerate(zip(self.old_sizes, self.nodes, self.targets, strict=True)):
            if targets.shape != (len(nodes), len(self.new_sizes)) or np.any(targets >= np.array(self.new_sizes)):
                return f"targets of prefixes of {level + 1} codes do not fit the new codebooks {self.new_sizes}"
            if len(nodes) and (nodes[0] < 0 or nodes[-1] >= above * size or np.any(np.diff(nodes) <= 0)):
                return f"prefixes of {level + 1} codes are not ascending or beyond the old codebooks {self.old_sizes}"
            above = len(nodes)
        for size, new_size, codes in zip(self.old_sizes, self.new_sizes, self.code_maps, strict=False):
            taken = codes[codes != UNKNOWN]
            if (
                codes.shape != (size,)
                or len(np.unique(taken)) != len(taken)
                or np.any((taken < 0) | (taken >= new_size))
            ):
                return "a map of codes does not fit the codebooks or names a new code twice"
        return None


def load_alignment(folder: Path, *, old_version: str | None = None, new_version: str | None = None) -> Alignment:
    """Load an alignment after checking every file, and the versions if given.

    Args:
        folder: Folder written by `Alignment.save`.
        old_version: The expected old version; None accepts any.
        new_version: The expected new version; None accepts any.

    Returns:
        The map.

    Raises:
        ArtifactError: The folder is missing, damaged, not an alignment, or between other versions.
    """
    verify_manifest(folder)
    try:
        facts = json.loads((folder / _FACTS_NAME).read_bytes())
        if facts["format"] != FORMAT:
            msg = f"format {facts['format']!r}, expected {FORMAT!r}"
            raise TokenizerError(msg)
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in (folder / _ARRAYS_FOLDER).glob("*.npy")}
        names = {group: sorted(name for name in arrays if name.startswith(f"{group}_")) for group in _GROUPS}
        alignment = Alignment(
            facts["old_version"],
            facts["new_version"],
            tuple(facts["old_sizes"]),
            tuple(facts["new_sizes"]),
            nodes=tuple(arrays[name].astype(np.int64) for name in names["nodes"]),
            targets=tuple(arrays[name].astype(np.uint16) for name in names["targets"]),
            code_maps=tuple(arrays[name].astype(np.int32) for name in names["code_map"]),
            agreement=facts["agreement"],
        )
    except (OSError, KeyError, TypeError, ValueError, TokenizerError) as error:
        msg = f"{folder} is not an alignment that this version can read: {error}; compare the tokenizers again"
        raise ArtifactError(msg) from error
    wanted = (old_version or alignment.old_version, new_version or alignment.new_version)
    if wanted != (alignment.old_version, alignment.new_version):
        msg = (
            f"alignment {folder}: expected a map {wanted[0]} -> {wanted[1]}, got {alignment.old_version} -> "
            f"{alignment.new_version}; compare those two tokenizers"
        )
        raise ArtifactError(msg)
    return alignment
