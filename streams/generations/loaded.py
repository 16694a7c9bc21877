"""A generation loaded by a worker that answers sessions: pair, model and catalogue; and when two may be compared."""

from dataclasses import dataclass

from sidestream.models.recommend import Recommender
from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.reader import CatalogueReader
from sidestream.streams.sessions.answerer import Pinned
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.catalogue import CatalogueSnapshot

_MIN_CHECKS = 2


@dataclass(eq=False)
class LoadedGeneration:
    """A loaded generation.

    Attributes:
        version: Tokenizer version.
        tokenizer: Tokenizer of the pair.
        model_version: Sent with the candidates.
        recommender: Runs the model.
        catalogue: The catalogue under this version.
        reader: Fills the catalogue.
        is_warm: Whether the catalogue has caught up and the model has answered once.
    """

    version: str
    tokenizer: ItemEncoder
    model_version: str
    recommender: Recommender
    catalogue: CurrentCatalogue
    reader: CatalogueReader
    is_warm: bool = False

    def pin(self) -> Pinned:
        """Return recommender and snapshot for one request."""
        return Pinned(self.recommender, self.catalogue.snapshot)


@dataclass
class Comparison:
    """A pending comparison of two catalogues, delayed until updates that were new at its start have reached both.

    Attributes:
        version: Version that is to serve next.
        then: Serving snapshot at the start.
        latest: Latest snapshot of the next generation.
        checks: Number of calls of `is_due`.
        builds: Snapshots that the next generation has built since the start.
    """

    version: str
    then: CatalogueSnapshot
    latest: CatalogueSnapshot
    checks: int = 0
    builds: int = 0

    def is_due(self, generation: LoadedGeneration) -> bool:
        """Whether the next generation has read and built since the start, so that the two may be compared."""
        self.checks += 1
        if generation.reader.snapshot is not self.latest:
            self.latest = generation.reader.snapshot
            self.builds += 1
        return self.checks >= _MIN_CHECKS and (self.builds >= _MIN_CHECKS or not generation.catalogue.is_stale)
