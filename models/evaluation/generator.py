"""The generator as a ranker: histories are processed by features and the real engine, as in serving."""

import numpy as np
import numpy.typing as npt

from sidestream.models.engine import CandidateEngine, Request
from sidestream.models.evaluation.catalogue import EvaluationCatalogue
from sidestream.models.features import ItemHistory, features

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


class GeneratorRanker:
    """Ranks with an engine, and maps its rows to item indices.

    Args:
        engine: The engine.
        catalogue: All items.
        max_len: Listens that the model reads.
        beam_size: Prefixes kept per level; None uses the engine's setting.
    """

    def __init__(
        self, engine: CandidateEngine, catalogue: EvaluationCatalogue, max_len: int, beam_size: int | None = None
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._max_len = max_len
        self._beam_size = beam_size

    def rank(
        self, history: Int32Array, num_items: int, exclude_seen: bool, is_liked: BoolArray | None = None
    ) -> Int32Array:
        """List the engine's candidates.

        Args:
            history: Items listened to, oldest first. Shape: (num_listens,).
            num_items: Maximum length of the list.
            exclude_seen: Whether to exclude the items of the history, including those older than the model reads.
            is_liked: Not used: the model's input has listens of every signal, as in serving. Shape: (num_listens,).

        Returns:
            Items, best first.

            Shape: (at most num_items,).
        """
        del is_liked
        catalogue = self._catalogue
        seen = catalogue.row_of_item[history]
        inputs = features(ItemHistory(seen, catalogue.codes[history]), self._max_len)
        request = Request(
            features=inputs,
            num_candidates=num_items,
            excluded_rows=np.unique(seen) if exclude_seen else np.empty(0, np.int32),
            beam_size=self._beam_size,
        )
        return catalogue.item_of_row[self._engine.recommend(request, catalogue.snapshot).rows]
