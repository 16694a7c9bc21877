"""Code statistics over a catalogue: distribution of items over SIDs, and similarity of items on one SID.

Legend: N items, L levels, D dimensions.

Source: GLIDE, arXiv 2603.17540 (similarity inside a bucket, fair only at matched numbers of SIDs); perplexity is two to
the entropy, as in van den Oord et al. 2017, section 4.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.errors import TokenizerError

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CodeStats:
    """Statistics of the codes of a catalogue.

    Attributes:
        num_items: Items counted.
        distinct_sids: SIDs that at least one item has.
        shared_share: Share of items that share their SID with another.
        largest_bucket: Items on the SID with the most items.
        bucket_cosine: Mean cosine of two items with the same SID, with equal weight per item; None without any.
        prefix_cosine: The same for items that share the first 1, 2, ... codes, up to all but the last.
        last_code_cosine: The same for items that share the last code, regardless of the codes before.
        codes_used: Codes of each level that at least one item has.
        perplexity: Per level, 2 to the entropy of the codes: the equivalent number of equally used codes.
        left_over: Mean squared quantization residual, relative to the squared length; None if unknown.
    """

    num_items: int
    distinct_sids: int
    shared_share: float
    largest_bucket: int
    bucket_cosine: float | None
    prefix_cosine: tuple[float | None, ...]
    last_code_cosine: float | None
    codes_used: tuple[int, ...]
    perplexity: tuple[float, ...]
    left_over: float | None


def measure_codes(
    vectors: npt.NDArray[np.floating], codes: Codes, decoded: npt.NDArray[np.floating] | None = None
) -> CodeStats:
    """Measure the statistics of a catalogue's codes.

    Args:
        vectors: Vectors of the items; compared by cosine.

            Shape: (N, D).
        codes: SIDs of the items.

            Shape: (N, L).
        decoded: The decoded SIDs in the space of the vectors; None if unknown.

            Shape: (N, D).

    Returns:
        The statistics.

    Raises:
        TokenizerError: No items, or vectors and codes differ in number.
    """
    if not len(codes) or len(vectors) != len(codes):
        msg = f"codes to describe: expected one vector for each of at least one item, got {len(vectors)}, {len(codes)}"
        raise TokenizerError(msg)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    buckets = _group(codes)
    sizes = np.bincount(buckets)
    shares = [np.unique(column, return_counts=True)[1] / len(codes) for column in codes.T]
    left_over = None if decoded is None else ((vectors - decoded) ** 2).sum() / max((lengths**2).sum(), 1e-300)
    return CodeStats(
        num_items=len(codes),
        distinct_sids=len(sizes),
        shared_share=round(float(sizes[sizes > 1].sum() / len(codes)), 4),
        largest_bucket=int(sizes.max()),
        bucket_cosine=_cosine_within(unit, buckets),
        prefix_cosine=tuple(_cosine_within(unit, _group(codes[:, :count])) for count in range(1, codes.shape[1])),
        last_code_cosine=_cosine_within(unit, _group(codes[:, -1:])),
        codes_used=tuple(len(share) for share in shares),
        perplexity=tuple(round(float(2.0 ** -(share * np.log2(share)).sum()), 2) for share in shares),
        left_over=None if left_over is None else round(float(left_over), 4),
    )


def _group(codes: Codes) -> npt.NDArray[np.intp]:
    groups: npt.NDArray[np.intp] = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    return groups


def _sums(rows: npt.NDArray[np.float64], groups: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    order = np.argsort(groups, kind="stable")
    firsts = np.unique(groups[order], return_index=True)[1]
    sums: npt.NDArray[np.float64] = np.add.reduceat(rows[order], firsts, axis=0)
    return sums


def _cosine_within(unit: npt.NDArray[np.float64], groups: npt.NDArray[np.intp]) -> float | None:
    sizes = np.bincount(groups)
    shared = sizes > 1
    if not shared.any():
        return None
    # The squared length of a sum of n unit vectors is n plus each pair's cosine twice.
    sums, own = _sums(unit, groups)[shared], np.bincount(groups, (unit * unit).sum(axis=1))[shared]
    pairs = ((sums * sums).sum(axis=1) - own) / (sizes[shared] * (sizes[shared] - 1.0))
    return round(float(np.average(pairs, weights=sizes[shared])), 4)
