"""Frozen trained encoder before the levels: a small MLP that numpy evaluates exactly.

Weights, biases and activations are on the 14-bit grid and bounded, so that float64 never rounds a sum and a single
vector gets the same point as in a batch. Legend: N vectors, D dimensions, H units of a layer, Z latent dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import MAX_DIM, VECTOR_BITS, Exact, snap
from sidestream.tokenizer.errors import TokenizerError

# 14 + 6 bits for an activation, 14 + 4 for a weight, 12 for the widest layer: 50 of 53.
_UNIT_BOUND = 2.0**6
_WEIGHT_BOUND = 2.0**4
_LATENT_BOUND = 2.0
_STEP = 2.0**-VECTOR_BITS


@dataclass(frozen=True, eq=False)
class MlpEncoder:
    """Dense layers with ReLU between them.

    Attributes:
        weights: Weights of each layer, multiples of 2^-14 below 16. Shape of each: (inputs, outputs).
        biases: Biases of each layer. Shape of each: (outputs,).
    """

    weights: tuple[Exact, ...]
    biases: tuple[Exact, ...]

    def __post_init__(self) -> None:
        widths = [weight.shape[0] for weight in self.weights] + [self.weights[-1].shape[1]] if self.weights else []
        fits = bool(self.weights) and len(self.weights) == len(self.biases) and max(widths) <= MAX_DIM
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=False)):
            fits = fits and weight.shape == (widths[number], widths[number + 1]) and bias.shape == weight.shape[1:]
            for array in (weight, bias):
                fits = fits and bool(np.abs(array).max(initial=0.0) < _WEIGHT_BOUND)
                fits = fits and np.array_equal(array, snap(array, VECTOR_BITS))
                array.setflags(write=False)
        if not fits:
            msg = (
                f"encoder before the levels: expected layers that follow each other, at most {MAX_DIM} wide, numbers "
                f"below {_WEIGHT_BOUND}, multiples of 2^-{VECTOR_BITS}; got widths {widths}; train the tokenizer again"
            )
            raise TokenizerError(msg)

    @property
    def dim(self) -> int:
        """D: dimensions of the input vectors."""
        return int(self.weights[0].shape[0])

    @property
    def latent_dim(self) -> int:
        """Z: dimensions of the latent points."""
        return int(self.weights[-1].shape[1])

    def encode(self, vectors: Exact) -> Exact:
        """Map vectors to latent points.

        Args:
            vectors: On the 14-bit grid, components below 2.

                Shape: (N, D).

        Returns:
            Points on the 14-bit grid, components clipped below 2.

            Shape: (N, Z).
        """
        units = vectors
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            units = np.clip(snap(units @ weight + bias, VECTOR_BITS), 0.0, _UNIT_BOUND - _STEP)
        last = snap(units @ self.weights[-1] + self.biases[-1], VECTOR_BITS)
        return np.clip(last, _STEP - _LATENT_BOUND, _LATENT_BOUND - _STEP)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All arrays by name, as stored in an artifact and hashed by a version; float32 represents the grid exactly."""
        pairs = enumerate(zip(self.weights, self.biases, strict=True))
        return {
            name: array.astype(np.float32)
            for number, (weight, bias) in pairs
            for name, array in ((f"layer_{number:02d}_weight", weight), (f"layer_{number:02d}_bias", bias))
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Self | None:
        """Build an encoder from the arrays that `arrays` returned.

        Args:
            arrays: All arrays by name; may include others.

        Returns:
            An equal encoder; None if the arrays contain no layer.

        Raises:
            KeyError: A layer has no bias.
            TokenizerError: The layers do not fit each other.
        """
        names = sorted(
            name.removesuffix("_weight") for name in arrays if name.startswith("layer_") and name.endswith("_weight")
        )
        if not names:
            return None
        weights = tuple(arrays[f"{name}_weight"].astype(np.float64) for name in names)
        return cls(weights, tuple(arrays[f"{name}_bias"].astype(np.float64) for name in names))

    @classmethod
    def freeze(cls, weights: list[npt.NDArray[np.floating]], biases: list[npt.NDArray[np.floating]]) -> Self:
        """Round trained layers to the grid and bound them.

        Args:
            weights: Weights of each layer. Shape of each: (inputs, outputs).
            biases: Biases of each layer. Shape of each: (outputs,).

        Returns:
            The frozen encoder; values of 16 and more are clipped.
        """
        bound = _WEIGHT_BOUND - _STEP
        layers = [[snap(np.clip(array, -bound, bound), VECTOR_BITS) for array in part] for part in (weights, biases)]
        return cls(tuple(layers[0]), tuple(layers[1]))
