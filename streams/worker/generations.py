"""Builds the parts of a worker that depend on generations."""

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
from sidestream.streams.generations.loaded import LoadedGeneration
from sidestream.streams.generations.pair import Pair
from sidestream.streams.generations.pair_loader import LoadPair, PairLoader
from sidestream.streams.generations.reports import Reporter
from sidestream.streams.generations.retired_catalogues import RetiredCatalogues
from sidestream.streams.generations.retokenizer import Retokenizer
from sidestream.streams.generations.serving import Serving
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
    """Orders, pairs and reports, shared by the answering and the tokenizing side of a worker.

    Args:
        settings: All settings.
        own_pair: The worker's own pair.
        load: Loads a pair folder.
        clients: Kafka clients.
        topics: All topics.
        metrics: All metrics.
        clock: Decides which items have expired.
        catalogues: Folder in which each generation's catalogue is saved.
    """

    def __init__(
        self,
        settings: "Settings",
        own_pair: Pair,
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
        version = own_pair.tokenizer.version
        self.control = ControlReader(clients, topics, metrics)
        self._pair_loader = PairLoader(own_pair, settings.generations.folder, load, settings.generations.retry_s)
        self.reporter = Reporter(clients, topics, self.control, settings.generations, settings.worker.role, version)

    @property
    def services(self) -> list[Service]:
        """Services that start before both sides."""
        return [self.control, self.reporter]

    def serving(self, own_pair: Pair) -> Serving:
        """Build the answering side.

        Args:
            own_pair: The worker's own pair.

        Returns:
            The service, not started.

        Raises:
            ArtifactError: The pair has no model.
        """
        settings = self._settings.generations
        parts = (self.control, self._pair_loader, self.reporter, settings, self._metrics, self._clock)
        own = self._load_generation(own_pair)
        return Serving(own, self._load_generation, *parts, RetiredCatalogues(self._catalogues))

    def counts_reader(self) -> CountsReader | None:
        """Build the reader of item counts for all generations; None if nothing is counted."""
        return (
            None if self._counts is None else CountsReader(self._clients, self._topics.item_count_totals, self._counts)
        )

    def retokenizer(self, app: faust.App, agent: CatalogAgent, limits: Limits) -> Retokenizer:
        """Build the tokenizing side.

        Args:
            app: The Faust app.
            agent: The catalogue agent.
            limits: Bounds that catalogue records must keep.

        Returns:
            The service; the agent waits until it has set the tokenizers.
        """
        parts = (self.control, self._pair_loader, self.reporter, self._settings.generations, self._metrics)
        return Retokenizer(app, agent, self._clients, self._topics, limits, *parts)

    def _load_generation(self, pair: Pair) -> LoadedGeneration:
        tokenizer = pair.tokenizer
        if pair.vectorize is None:
            msg = "artifacts: expected a model, got only a tokenizer; load the pair with its model for this role"
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
        return LoadedGeneration(
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
