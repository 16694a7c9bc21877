"""Ridge regression with an unpenalized intercept, which predicts vectors of items without listens from content.

`fit_ridge` selects its penalty and returns coefficients on a grid: they are part of a tokenizer's version.
`fit_weighted_ridge` takes weights and a penalty: the item table's prediction of item vectors.
"""

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import WEIGHT_BITS, Exact, snap

# More rows than this hardly change a few hundred coefficients.
_MAX_ROWS = 50_000
_PENALTIES = 10.0 ** np.arange(-4, 3)

Float64Array = npt.NDArray[np.float64]


def fit_ridge(inputs: Exact, targets: Exact) -> Exact:
    """Fit targets from inputs, with the penalty that has the lowest leave-one-out error.

    Source: Hoerl, Kennard 1970; Allen 1974 (PRESS: the leave-one-out error from the hat matrix, without refitting).

    Args:
        inputs: Centred content of the heard items.

            Shape: (M, C).
        targets: Collaborative halves of these items.

            Shape: (M, K).

    Returns:
        Coefficients, the intercept in the last row, on a grid of 20 bits below the power of two above the largest;
        their common scale is lost, which does not matter as predictions are scaled to unit length. Zeros if M is 0.

        Shape: (C + 1, K).
    """
    step = -(-len(inputs) // _MAX_ROWS) or 1
    inputs, targets = inputs[::step], targets[::step]
    num_rows, num_inputs = inputs.shape
    if not num_rows or not targets.shape[1]:
        return np.zeros((num_inputs + 1, targets.shape[1]))
    input_mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    spread, axes = np.linalg.eigh((inputs - input_mean).T @ (inputs - input_mean))
    spread = np.maximum(spread, 0.0)
    rotated = (inputs - input_mean) @ axes
    moments = rotated.T @ (targets - target_mean)
    scale = max(float(spread.mean()), 1e-9)
    coefficients, best = np.zeros_like(moments), np.inf
    for penalty in _PENALTIES * scale:
        fitted = moments / (spread + penalty)[:, None]
        leverage = (rotated**2 / (spread + penalty)).sum(axis=1) + 1.0 / num_rows
        left_out = (targets - target_mean - rotated @ fitted) / np.maximum(1.0 - leverage, 1e-6)[:, None]
        error = float((left_out**2).sum())
        if error < best:
            coefficients, best = fitted, error
    weights = axes @ coefficients
    table = _with_constant(weights, input_mean, target_mean)
    return snap(np.ldexp(table, -int(np.frexp(np.abs(table).max())[1])), WEIGHT_BITS)


def fit_weighted_ridge(
    inputs: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], weights: Float64Array, penalty: float
) -> npt.NDArray[np.float32]:
    """Fit targets from inputs with a weight for each row.

    Args:
        inputs: Inputs.

            Shape: (M, C).
        targets: Targets.

            Shape: (M, K).
        weights: Positive weights.

            Shape: (M,).
        penalty: Penalty as a share of the mean variance of the inputs.

    Returns:
        Coefficients, the intercept in the last row. Zeros if M is 0.

        Shape: (C + 1, K).
    """
    num_inputs, num_targets = inputs.shape[1], targets.shape[1]
    if not len(inputs):
        return np.zeros((num_inputs + 1, num_targets), dtype=np.float32)
    share = weights / weights.sum()
    input_mean, target_mean = share @ inputs, share @ targets
    centred = inputs - input_mean
    covariance = (centred * share[:, None]).T @ centred
    diagonal = penalty * max(float(np.trace(covariance)) / num_inputs, 1e-12) * np.eye(num_inputs)
    slope = np.linalg.solve(covariance + diagonal, (centred * share[:, None]).T @ (targets - target_mean))
    return _with_constant(slope, input_mean, target_mean).astype(np.float32)


def _with_constant(slope: Float64Array, input_mean: Float64Array, target_mean: Float64Array) -> Float64Array:
    """Append the intercept that predicts the mean to the slope. Shape: (C + 1, K)."""
    return np.concatenate([slope, (target_mean - input_mean @ slope)[None]])
