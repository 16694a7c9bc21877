"""Exact arithmetic on a power-of-two grid: float64 products and sums that are never rounded, in any order of addition.

A matrix product may add its terms in a different order for one row than for a thousand, and round differently each
time, so a code could depend on the batch size, the BLAS build or the number of threads. Here every operand is a
multiple of a power of two with so few bits that no sum of products exceeds 2^53 steps. Then float64 never rounds, the
order of addition does not matter, and a single item, a batch of a million and another machine agree to the bit.

Bits needed by the largest sums of products, with at most `MAX_DIM` = 2^12 terms:

* norm: (2^20)^2 * 2^12 = 2^52
* content projection: 2^17 (centred, 16 fraction bits) * 2^20 * (2^12 + 1) < 2^50
* level distance: 2^20 * 2^15 * 2^12 = 2^47, for residuals below 2^6 and centroids below 2 on the 14-bit grid

Division, square root and rounding are applied per element, where IEEE 754 defines the result.
"""

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.errors import TokenizerError

Floats = npt.NDArray[np.floating]
Exact = npt.NDArray[np.float64]

MAX_DIM = 4096
CONTENT_BITS = 16
WEIGHT_BITS = 20
VECTOR_BITS = 14
_NORM_BITS = 20


def snap(values: Floats, bits: int) -> Exact:
    """Round to the nearest multiple of 2^-bits.

    Args:
        values: Finite numbers of any shape.
        bits: Fraction bits to keep.

    Returns:
        The rounded numbers, same shape.
    """
    return np.ldexp(np.rint(np.ldexp(np.asarray(values, dtype=np.float64), bits)), -bits)


def unit_rows(rows: Floats, bits: int) -> Exact:
    """Scale each row to unit length and round it to the grid; a row of zeros stays zero.

    Args:
        rows: Finite numbers.

            Shape: (num_rows, dim), dim at most 4096.
        bits: Fraction bits of the result.

    Returns:
        Rows of unit length, up to rounding.

        Shape: (num_rows, dim).
    """
    exact = np.asarray(rows, dtype=np.float64)
    peaks = np.abs(exact).max(axis=1, initial=0.0, keepdims=True)
    # Scaling by a power of two is exact; it brings the largest component of each row into [2^19, 2^20).
    whole = np.rint(np.ldexp(exact, _NORM_BITS - np.frexp(peaks)[1]))
    norms = np.sqrt((whole * whole).sum(axis=1, keepdims=True))
    return snap(np.divide(whole, norms, out=np.zeros_like(whole), where=norms > 0), bits)


def require_rows(rows: Floats, dim: int, what: str) -> Floats:
    """Check that vectors are finite rows of the expected dimension.

    Args:
        rows: The vectors.
        dim: The expected dimension.
        what: Name of the vectors in the error message.

    Returns:
        The same vectors.

    Raises:
        TokenizerError: The array is not two-dimensional, has another dimension, or holds NaN or infinity.
    """
    if rows.ndim != 2 or rows.shape[1] != dim:
        msg = (
            f"{what}: expected an array of shape (num_rows, {dim}), got {rows.shape}; use the vectors of this tokenizer"
        )
        raise TokenizerError(msg)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        msg = f"{what}: row {int(np.argmin(finite))} of {len(rows)} holds NaN or infinity; check what produced it"
        raise TokenizerError(msg)
    return rows
