"""Cold-start quality: how well content predicts the collaborative neighbours of items without listens.

Some heard items are removed from all sequences, the collaborative vectors and the prediction from content are fitted
without them, and the nearest heard items to their predicted vectors are found. True neighbours are those by the vectors
of the whole log. The two fits have different axes, so neighbours are compared, not vectors.

Legend: N items, C content dimensions, K dimensions from listens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.quality.neighbours import nearest_items, overlap, unit_vectors
from sidestream.tokenizer.representation.cooccurrence import cooccurrence_vectors
from sidestream.tokenizer.representation.vector import Representation
from sidestream.tokenizer.settings import TokenizerSettings

_HELD_SHARE = 0.2
_MAX_HELD = 2_000
_NEIGHBOURS = 10
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class ColdStartReport:
    """Recall of the true collaborative neighbours of items whose listens were held out.

    Attributes:
        num_heard: Items that kept their listens, among which neighbours are searched.
        num_unheard: Items whose listens were held out.
        neighbours: Number of neighbours per item.
        predicted_recall: Recall by the collaborative half predicted from content.
        content_recall: Recall by the content vectors themselves.
        known_recall: Recall of items that kept their listens, by their own collaborative half: the upper bound that
            listens would give, apart from the effect of fitting on fewer items.
        chance: Recall of neighbours drawn at random.
    """

    num_heard: int
    num_unheard: int
    neighbours: int
    predicted_recall: float
    content_recall: float
    known_recall: float
    chance: float


def measure_cold_start(
    keys: npt.NDArray[np.uint64],
    content: npt.NDArray[np.float32],
    sequences: Sequence[npt.NDArray[np.integer]],
    settings: TokenizerSettings,
    rng: np.random.Generator,
) -> ColdStartReport | None:
    """Measure how well content predicts the collaborative neighbours of an item.

    Args:
        keys: Distinct item keys.

            Shape: (N,).
        content: The encoder's vectors.

            Shape: (N, C).
        sequences: One array of item indices for each listener, oldest first; the training part only.
        settings: Dimensions and window.
        rng: Draws the held-out items and the random parts of the fits.

    Returns:
        The report; None if fewer than three dozen items are heard, or no dimension comes from listens.

    Raises:
        TokenizerError: Content and keys differ in number.
    """
    if len(keys) != len(content):
        msg = f"items without listens: expected one content vector for each key, got {len(keys)} and {len(content)}"
        raise TokenizerError(msg)
    whole = unit_vectors(_collaborative(sequences, len(keys), settings, rng))
    heard = np.flatnonzero(whole.any(axis=1))
    if len(heard) < 3 * (_NEIGHBOURS + 2):
        return None
    held = np.sort(rng.choice(heard, min(int(_HELD_SHARE * len(heard)), _MAX_HELD), replace=False))
    left = [rows[~np.isin(rows, held)] for rows in sequences]
    fitted = _collaborative(left, len(keys), settings, rng)
    fitted[held] = 0.0
    representation = Representation.fit(
        keys,
        content,
        fitted,
        dim=settings.vector_dim,
        collaborative_dim=settings.collaborative_dim,
        content_share=settings.content_share,
    )
    halves = unit_vectors(representation.represent(keys, content)[:, -representation.ridge.shape[1] :])
    kept = np.flatnonzero(unit_vectors(fitted).any(axis=1))
    count = min(_NEIGHBOURS, len(kept) - 1)
    asked = np.sort(rng.choice(kept, min(len(kept), len(held)), replace=False))
    true_held, true_asked = nearest_items(held, whole, kept, count), nearest_items(asked, whole, kept, count)
    own = unit_vectors(content.astype(np.float64) - content.mean(axis=0, dtype=np.float64))
    return ColdStartReport(
        num_heard=len(kept),
        num_unheard=len(held),
        neighbours=count,
        predicted_recall=round(overlap(nearest_items(held, halves, kept, count), true_held), _DIGITS),
        content_recall=round(overlap(nearest_items(held, own, kept, count), true_held), _DIGITS),
        known_recall=round(overlap(nearest_items(asked, halves, kept, count), true_asked), _DIGITS),
        chance=round(count / len(kept), _DIGITS),
    )


def _collaborative(
    sequences: Sequence[npt.NDArray[np.integer]], num_items: int, settings: TokenizerSettings, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    return cooccurrence_vectors(sequences, num_items, settings.collaborative_dim, rng, settings.cooccurrence_window)
