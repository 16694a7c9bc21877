"""The parts of a worker that know of generations, put together."""

from pathlib import Path
from typing import TYPE_CHECKING

import faust
from mode import Service

from sidestream.models.recommend import Recommender
from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.disk import LocalCatalogue
from sidestream.streams.catalogue.reader import CatalogueReader
from sidestream.streams.catalogue.saving import CatalogueSaver
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import ArtifactError
from sidestream.streams.generations.control import ControlReader
from sidestream.streams.generations.leftovers import Leftovers
from sidestream.streams.generations.loaded import Live
from sidestream.streams.generations.pair import Pair
from sidestream.streams.generations.reports import Reporter
from sidestream.streams.generations.retokenizer import Retokenizer
from sidestream.streams.generations.serving import Serving
from sidestream.streams.generations.shelf import LoadPair, Shelf
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.popularity.current_counts import CountsHub
from sidestream.streams.popularity.reader import CountsReader
from sidestream.streams.runtime.clock import Clock, WallClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.histories import count_histories
from sidestream.streams.tokenizing.agent import CatalogAgent
from sidestream.tokenizer.catalogue import Catalogue

if TYPE_CHECKING:
    from sidestream.streams.settings import Settings


class GenerationParts:
    """Orders, pairs and reports, shared by both sides of a worker.

    Args:
        settings: All settings.
        home: The worker's own pair.
        load: Loads a pair folder.
        clients: The Kafka.
        topics: All topics.
        metrics: Counts.
        clock: Judges expiry.
        catalogues: Folder in which each generation's catalogue is saved.
    """

    def __init__(
        self,
        settings: "Settings",
        home: Pair,
        load: LoadPair,
        clients: Clients,
        topics: Topics,
        metrics: Metrics,
        clock: Clock,
        catalogues: Path,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._topics = topics
        self._metrics = metrics
        self._clock = clock
        self._catalogues = catalogues
        self._counts: CountsHub | None = None
        if settings.popularity.enabled:
            self._counts = CountsHub(settings.popularity, settings.recommend.new_within_hours, metrics)
        version = home.tokenizer.version
        self.control = ControlReader(clients, topics, metrics)
        self._shelf = Shelf(home, settings.generations.folder, load, settings.generations.retry_s)
        self.reporter = Reporter(clients, topics, self.control, settings.generations, settings.worker.role, version)

    @property
    def services(self) -> list[Service]:
        """What starts before the sides do."""
        return [self.control, self.reporter]

    def serving(self, home: Pair) -> Serving:
        """Build the answering side.

        Args:
            home: The worker's own pair.

        Returns:
            The service; nothing is read yet.

        Raises:
            ArtifactError: The pair has no model.
        """
        settings = self._settings.generations
        parts = (self.control, self._shelf, self.reporter, settings, self._metrics, self._clock)
        return Serving(self._live(home), self._live, *parts, Leftovers(self._catalogues))

    def counts_reader(self) -> CountsReader | None:
        """Build what reads the counts for all generations; None where nothing is counted."""
        return None if self._counts is None else CountsReader(self._clients, self._topics.item_counts, self._counts)

    def retokenizer(self, app: faust.App, agent: CatalogAgent, limits: Limits) -> Retokenizer:
        """Build the tokenizing side.

        Args:
            app: The Faust app.
            agent: The catalogue agent.
            limits: What catalogue records must keep.

        Returns:
            The service; the agent waits until it has run.
        """
        parts = (self.control, self._shelf, self.reporter, self._settings.generations, self._metrics)
        return Retokenizer(app, agent, self._clients, self._topics, limits, *parts)

    def _live(self, pair: Pair) -> Live:
        tokenizer = pair.tokenizer
        if pair.vectorize is None:
            msg = "artifacts: expected a model, got a tokenizer alone; load the pair with its model for this role"
            raise ArtifactError(msg)
        version, sizes, vector_dim = tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim
        settings = self._settings.catalogue
        catalogue = CurrentCatalogue(
            Catalogue(version, sizes, pair.dim, pair.vectorize, x_dim=vector_dim),
            UpdateDecoder(version, sizes, vector_dim),
            settings,
            self._metrics,
            self._clock,
            popularity=None if self._counts is None else self._counts.subscribe(),
        )
        local = LocalCatalogue(self._catalogues, version, pair.model_version, WallClock())
        saving = CatalogueSaver(catalogue, local, self._clients, settings)
        return Live(
            version=version,
            tokenizer=tokenizer,
            model_version=pair.model_version,
            recommender=Recommender(
                pair.engine,
                version,
                pair.model_version,
                self._settings.recommend,
                pair.alignments,
                count_histories(self._metrics),
            ),
            catalogue=catalogue,
            reader=CatalogueReader(self._clients, self._topics.item_sids, catalogue, settings, saving=saving),
        )
