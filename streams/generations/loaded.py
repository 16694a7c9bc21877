"""One generation in a worker that answers: a pair, its model and its catalogue; and when two may be compared."""

from dataclasses import dataclass

from sidestream.models.recommend import Recommender
from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.reader import CatalogueReader
from sidestream.streams.sessions.answerer import Pinned
from sidestream.streams.tokenizing.values import ItemEncoder
from sidestream.tokenizer.catalogue import CatalogueSnapshot

_MIN_LOOKS = 2


@dataclass(eq=False)
class Live:
    """One generation in this worker.

    Attributes:
        version: Tokenizer version.
        tokenizer: The pair's.
        model_version: Named in the answers.
        recommender: Its model.
        catalogue: Its catalogue.
        reader: Fills it.
        warm: Whether it has caught up and answered once.
    """

    version: str
    tokenizer: ItemEncoder
    model_version: str
    recommender: Recommender
    catalogue: CurrentCatalogue
    reader: CatalogueReader
    warm: bool = False

    def pin(self) -> Pinned:
        """Return what answers a request."""
        return Pinned(self.recommender, self.catalogue.snapshot)


@dataclass
class Look:
    """What served when a comparison began: pinned until what was new then must have reached both."""

    version: str
    then: CatalogueSnapshot
    seen: CatalogueSnapshot
    looks: int = 0
    builds: int = 0

    def is_due(self, live: Live) -> bool:
        """Look once more; tell whether the other catalogue was read and built since.

        Args:
            live: The generation that is to serve.

        Returns:
            Whether the two may be compared.
        """
        self.looks += 1
        if live.reader.snapshot is not self.seen:
            self.seen = live.reader.snapshot
            self.builds += 1
        return self.looks >= _MIN_LOOKS and (self.builds >= _MIN_LOOKS or not live.catalogue.is_stale)
