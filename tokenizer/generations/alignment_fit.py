"""Fitting of an alignment map from the items that two tokenizer versions both encoded, and its agreement.

Legend: N items, L levels of the old version, M levels of the new one.

Source: arXiv 2604.13273 (codes matched by common items; greedy matching); the rule for prefixes is explained in
`tokenizer/generations/alignment.py`.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.generations.alignment import UNKNOWN, Alignment, Codes

_FOLDS = 5
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class VersionCodes:
    """The SIDs of a catalogue under one tokenizer version.

    Attributes:
        version: The tokenizer version.
        sizes: Codes of each level.
        codes: The SID of each item. Shape: (N, levels).
    """

    version: str
    sizes: tuple[int, ...]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the map agrees with the new version, over items that both versions encoded.

    Attributes:
        num_items: Items measured.
        seen: Share of items whose translated SID shares the first 1, 2, ... codes with their new SID; the map was
            fitted with these items, as is the case for items that are still in the catalogue.
        unseen: The same for items that the map was fitted without, in five folds: what to expect for items that were
            removed earlier.
        unseen_unknown: Share of these whose first old code is not in the map.
        chance: The same if every item were assigned the most frequent prefixes.
        code_maps: For each level that both have, share of items whose new code is the one matched to their old code.
    """

    num_items: int
    seen: tuple[float, ...]
    unseen: tuple[float, ...]
    unseen_unknown: float
    chance: tuple[float, ...]
    code_maps: tuple[float, ...]


def align(old: VersionCodes, new: VersionCodes) -> Alignment:
    """Fit the map from one version to another and measure its agreement.

    Args:
        old: The version of the SIDs in stored histories, with the SIDs of the common items.
        new: The version that the model reads, with the SIDs of the same items in the same order.

    Returns:
        The map, with its agreement.

    Raises:
        TokenizerError: No items, or different numbers of items.
    """
    if not len(old.codes) or len(old.codes) != len(new.codes):
        msg = (
            f"alignment {old.version} -> {new.version}: expected the same items from both, at least one, got "
            f"{len(old.codes)} and {len(new.codes)}; encode one catalogue with both"
        )
        raise TokenizerError(msg)
    alignment = _fit(old, new)
    return replace(alignment, agreement=asdict(measure(alignment, old, new)))


def measure(alignment: Alignment, old: VersionCodes, new: VersionCodes) -> Agreement:
    """Measure how often a map agrees with the new version's SIDs of the same items."""
    count, levels = len(old.codes), new.codes.shape[1]
    unseen = np.full(new.codes.shape, UNKNOWN, dtype=np.int32)
    folds = np.arange(count) % _FOLDS
    for fold in range(min(_FOLDS, count) if count > 1 else 0):
        held = folds == fold
        rest = _fit(*(VersionCodes(side.version, side.sizes, side.codes[~held]) for side in (old, new)))
        unseen[held] = rest.translate(old.codes[held])
    crowds = [np.unique(new.codes[:, : end + 1], axis=0, return_counts=True)[1].max() for end in range(levels)]
    matched = zip(alignment.code_maps, old.codes.T, new.codes.T, strict=False)
    return Agreement(
        num_items=count,
        seen=_equal_prefixes(alignment.translate(old.codes), new.codes),
        unseen=_equal_prefixes(unseen, new.codes),
        unseen_unknown=round(float((unseen[:, 0] == UNKNOWN).mean()), _DIGITS),
        chance=tuple(round(float(crowd) / count, _DIGITS) for crowd in crowds),
        code_maps=tuple(round(float((codes[olds] == news).mean()), _DIGITS) for codes, olds, news in matched),
    )


def match_codes(old: Codes, new: Codes, old_size: int, new_size: int) -> Codes:
    """Match the codes of one level one to one, greedily by number of common items.

    Args:
        old: Code of each item under the old version.

            Shape: (N,).
        new: Code of each item under the new version.

            Shape: (N,).
        old_size: Codes of the old level.
        new_size: Codes of the new level.

    Returns:
        The new code of each old one; -1 where no common item supports any unmatched code.

        Shape: (old_size,).
    """
    pairs, counts = np.unique(old.astype(np.int64) * new_size + new, return_counts=True)
    matched: Codes = np.full(old_size, UNKNOWN, dtype=np.int32)
    taken = np.zeros(new_size, dtype=bool)
    for pair in pairs[np.argsort(-counts, kind="stable")].tolist():
        old_code, new_code = divmod(pair, new_size)
        if matched[old_code] == UNKNOWN and not taken[new_code]:
            matched[old_code], taken[new_code] = new_code, True
    return matched


def _fit(old: VersionCodes, new: VersionCodes) -> Alignment:
    nodes, targets = [], []
    places = np.zeros(len(old.codes), dtype=np.int64)
    for size, column in zip(old.sizes, old.codes.T, strict=True):
        known, places = np.unique(places * size + column, return_inverse=True)
        nodes.append(known)
        targets.append(_majority_sids(places, len(known), new))
    levels = zip(old.codes.T, new.codes.T, old.sizes, new.sizes, strict=False)
    return Alignment(
        old.version,
        new.version,
        old.sizes,
        new.sizes,
        nodes=tuple(nodes),
        targets=tuple(targets),
        code_maps=tuple(match_codes(*level) for level in levels),
    )


def _majority_sids(groups: npt.NDArray[np.int64], num_groups: int, new: VersionCodes) -> npt.NDArray[np.uint16]:
    # Level by level the most frequent code of a group, among the items that have the codes before it: so the target is
    # the SID of an item, and its first codes are right more often than those of the most frequent whole SID.
    sids = np.zeros((num_groups, len(new.sizes)), dtype=np.uint16)
    rows = np.arange(len(groups))
    for level, size in enumerate(new.sizes):
        pairs, counts = np.unique(groups[rows] * size + new.codes[rows, level], return_counts=True)
        order = np.lexsort((pairs, -counts, pairs // size))
        firsts = np.unique((pairs // size)[order], return_index=True)[1]
        best = pairs[order[firsts]] % size
        sids[:, level] = best
        rows = rows[new.codes[rows, level] == best[groups[rows]]]
    return sids


def _equal_prefixes(predicted: Codes, expected: Codes) -> tuple[float, ...]:
    equal = np.logical_and.accumulate(predicted == expected, axis=1).mean(axis=0)
    return tuple(round(float(share), _DIGITS) for share in equal)
