"""ONNX engine: one ONNX Runtime session that ranks a catalogue's items for a listener. Does not need torch.

Decisions:
- One request per call on a session with one thread; as many callers as there are cores. `run` releases the GIL and is
  safe to call from many threads at once; nothing here is modified after construction except caches.
- The catalogue is input data, passed without a copy; its part of the inputs is collected once per snapshot.
- A result contains only rows of the snapshot that are eligible and not excluded, each once, best first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from sidestream.models.artifact import ModelArtifact
from sidestream.models.decoding.feed import (
    Aranges,
    Feed,
    Widths,
    catalogue_feed,
    control_feed,
    eligibility_feed,
    history_feed,
)
from sidestream.models.decoding.signature import METADATA_PREFIX, RESULT_NAMES, input_specs, output_names
from sidestream.models.errors import EngineError
from sidestream.models.features import Features
from sidestream.models.settings import EngineSettings
from sidestream.tokenizer.catalogue import CatalogueSnapshot, Eligibility
from sidestream.tokenizer.errors import ArtifactError

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

_MAX_BEAM_SIZE = 512
_MAX_CANDIDATES = 2048
_ERRORS_ONLY = 3


def _no_rows() -> Int32Array:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one listener.

    Args:
        features: Inputs of the encoder, built from the same snapshot.
        num_candidates: Maximum number of items, 1 to 2048.
        excluded_rows: Rows that must not be returned; -1 is ignored. Shape: (X,).
        eligibility: Rules compiled for the same snapshot; None = all live items.
        beam_size: Prefixes kept per level, 1 to 512; None = as in the settings, but no fewer than candidates.
        want_trace: Whether to also return the beam after each level.
    """

    features: Features
    num_candidates: int
    excluded_rows: Int32Array = field(default_factory=_no_rows)
    eligibility: Eligibility | None = None
    beam_size: int | None = None
    want_trace: bool = False


@dataclass(frozen=True, slots=True)
class LevelTrace:
    """The beam after one level, best first.

    Args:
        nodes: Trie nodes of the level. Shape: (W,).
        parents: Index of each one's parent in the beam before; 0 on the first level. Shape: (W,).
        scores: Guided scores, which order the beam. Shape: (W,).
        log_probs: Log-probabilities of the prefixes. Shape: (W,).
    """

    nodes: Int32Array
    parents: Int32Array
    scores: Float32Array
    log_probs: Float32Array


@dataclass(frozen=True, slots=True)
class EngineResult:
    """Ranked items, best first; fewer than requested if there are no more eligible items.

    Args:
        rows: Rows of the item store. Shape: (C,).
        scores: Scores that order the list. Shape: (C,).
        log_probs: Log-probabilities of the items' SIDs. Shape: (C,).
        leaves: The SIDs as nodes of the last level; the best one of an item with several SIDs. Shape: (C,).
        trace: One entry per level, if requested.
    """

    rows: Int32Array
    scores: Float32Array
    log_probs: Float32Array
    leaves: Int32Array
    trace: tuple[LevelTrace, ...] | None = None


class CandidateEngine(Protocol):
    """Interface of an engine: the ONNX engine, or a substitute."""

    def recommend(self, request: Request, snapshot: CatalogueSnapshot) -> EngineResult:
        """Rank items of the snapshot for one request."""
        ...


class Engine:
    """Ranks items with one model.

    Args:
        artifact: Verified model artifact.
        settings: Widths and weights.

    Raises:
        ArtifactError: The graph does not match the artifact's configuration.
        EngineError: ONNX Runtime is missing or cannot load the graph.
    """

    def __init__(self, artifact: ModelArtifact, settings: EngineSettings | None = None) -> None:
        settings = settings if settings is not None else EngineSettings()
        self.config = artifact.config
        self.model_version = artifact.version
        self.settings = settings
        self._session, self._refusals = _open_session(artifact, settings.num_threads)
        _check_graph(self._session, artifact)
        config = artifact.config
        gamma = config.gamma if settings.gamma is None else settings.gamma
        beta = config.beta if settings.beta is None else settings.beta
        self._weights = {"gamma": np.array(gamma, dtype=np.float32), "beta": np.array(beta, dtype=np.float32)}
        self._result_names = list(RESULT_NAMES)
        self._all_names = list(output_names(config.network.num_levels))
        self._aranges = Aranges()
        self._catalogues: WeakKeyDictionary[CatalogueSnapshot, Feed] = WeakKeyDictionary()

    def recommend(self, request: Request, snapshot: CatalogueSnapshot) -> EngineResult:
        """Rank the items of a snapshot for one request.

        Args:
            request: The request.
            snapshot: Pinned catalogue; an empty one gives an empty result.

        Returns:
            The items, best first.

        Raises:
            EngineError: The request or the snapshot does not fit the model, or the runtime failed.
        """
        widths = self._widths(request)
        catalogue = self._catalogue(snapshot)
        history = history_feed(request.features, self.config.network, snapshot.num_rows)
        eligibility = request.eligibility if request.eligibility is not None else snapshot.eligibility()
        masks = eligibility_feed(snapshot, eligibility, request.excluded_rows)
        if not snapshot.num_items:
            return _empty(self.config.network.num_levels if request.want_trace else None)
        feed = {**catalogue, **history, **masks, **control_feed(snapshot, widths, self._aranges), **self._weights}
        names = self._all_names if request.want_trace else self._result_names
        try:
            outputs = self._session.run(names, feed)
        except self._refusals as error:
            msg = (
                f"ONNX Runtime refused a request on snapshot {snapshot.version} ({snapshot.num_items} items): "
                f"{str(error).splitlines()[0]}"
            )
            raise EngineError(msg) from error
        levels = self.config.network.num_levels if request.want_trace else 0
        return _result(dict(zip(names, outputs, strict=True)), snapshot, request.num_candidates, levels)

    def _widths(self, request: Request) -> Widths:
        settings, beam = self.settings, request.beam_size
        if beam is None:
            # A live prefix guarantees one item only: with as many beams as candidates the list is always full.
            beam = max(settings.beam_size, min(request.num_candidates, _MAX_BEAM_SIZE))
        if not (1 <= request.num_candidates <= _MAX_CANDIDATES and 1 <= beam <= _MAX_BEAM_SIZE):
            msg = (
                f"request: expected 1 to {_MAX_CANDIDATES} candidates and a beam of 1 to {_MAX_BEAM_SIZE}, "
                f"got {request.num_candidates} and {beam}"
            )
            raise EngineError(msg)
        wanted = min(max(settings.leaf_beam_size, request.num_candidates), settings.max_leaf_beam_size)
        return Widths(beam, max(wanted, beam), request.num_candidates)

    def _catalogue(self, snapshot: CatalogueSnapshot) -> Feed:
        feed = self._catalogues.get(snapshot)
        if feed is None:
            # Two threads may both build it: the results are equal, cheap, and the last one is kept.
            feed = catalogue_feed(snapshot, self.config.network, self.config.tokenizer_version)
            self._catalogues[snapshot] = feed
        return feed


def _open_session(artifact: ModelArtifact, num_threads: int) -> tuple[Any, tuple[type[Exception], ...]]:
    """Load the graph; return the session and the exceptions that its calls may raise."""
    try:
        import onnxruntime  # an extra of the package, needed only for serving
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        msg = "the engine needs ONNX Runtime; run pip install 'sidestream[cpu]' (or 'sidestream[gpu]')"
        raise EngineError(msg) from error
    refusals = (RuntimeError, ValueError, state.Fail, state.InvalidArgument, state.RuntimeException)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(artifact.onnx_path, options, providers=["CPUExecutionProvider"])
    except (OSError, *refusals, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile) as error:
        msg = f"{artifact.onnx_path} cannot be loaded: {str(error).splitlines()[0]}; export the model again"
        raise EngineError(msg) from error
    return session, refusals


def _check_graph(session: Any, artifact: ModelArtifact) -> None:
    """Compare the graph's metadata and inputs with the artifact's configuration."""
    config = artifact.config
    expected: Mapping[str, str] = config.graph_metadata()
    found = session.get_modelmeta().custom_metadata_map
    for key, value in expected.items():
        if found.get(METADATA_PREFIX + key) != value:
            msg = (
                f"{artifact.onnx_path}: expected {key} {value}, got {found.get(METADATA_PREFIX + key)}; "
                "graph and configuration are from different exports: export the model again"
            )
            raise ArtifactError(msg)
    names = [value.name for value in session.get_inputs()]
    wanted = [spec.name for spec in input_specs(config.network.num_levels, config.network.d_model)]
    if names != wanted:
        msg = f"{artifact.onnx_path}: inputs differ from those of this version ({len(names)} instead of {len(wanted)})"
        raise ArtifactError(msg)


def _result(
    outputs: Mapping[str, npt.NDArray[Any]], snapshot: CatalogueSnapshot, count: int, traced_levels: int
) -> EngineResult:
    alive = outputs["scores"] > -np.inf
    rows = snapshot.aliases.item_rows(outputs["rows"][alive])
    scores, log_probs = outputs["scores"][alive], outputs["log_probs"].ravel()[alive]
    leaves = outputs["leaves"].ravel()[alive]
    if len(set(rows.tolist())) < rows.size:  # an item with several SIDs: its best place counts
        first = np.sort(np.unique(rows, return_index=True)[1])[:count]
        rows, scores, log_probs, leaves = rows[first], scores[first], log_probs[first], leaves[first]
    trace = tuple(_level_trace(outputs, level) for level in range(traced_levels)) if traced_levels else None
    return EngineResult(rows[:count], scores[:count], log_probs[:count], leaves[:count], trace)


def _level_trace(outputs: Mapping[str, npt.NDArray[Any]], level: int) -> LevelTrace:
    scores = outputs[f"trace_scores_{level}"]
    alive = scores > -np.inf  # dead entries are last, so indices of parents stay valid
    nodes, parents, log_probs = (outputs[f"trace_{name}_{level}"] for name in ("nodes", "parents", "log_probs"))
    return LevelTrace(nodes.ravel()[alive], parents[alive].astype(np.int32), scores[alive], log_probs.ravel()[alive])


def _empty(num_levels: int | None) -> EngineResult:
    rows, scores = _no_rows(), np.empty(0, dtype=np.float32)
    trace = None if num_levels is None else (LevelTrace(rows, rows, scores, scores),) * num_levels
    return EngineResult(rows, scores, scores, rows, trace)
