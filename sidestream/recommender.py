"""In-process recommender: a trained pair and a catalogue, queried with a list of item ids. No Kafka, no torch.

    from sidestream import Recommender

    recommender = Recommender.load("pair", "world")
    for item in recommender.recommend(["i17", "i4"], num_candidates=5):
        print(item.rank, item.title, item.score)

It uses the same core as a worker and a replay: rules, features, constrained beam search, reserved places. A worker
keeps the recent 50 listens; here a history may be of any length: the model reads its latest items, all of them are
familiar and excluded. What a worker learns from the stream (live popularity) is not available here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, overload

from pydantic import ValidationError

from sidestream.models.data import LogFolder
from sidestream.models.history import view_of_items
from sidestream.models.recommend import Recommender as RecommenderCore
from sidestream.models.records import CandidateSet, CatalogItem, SessionStart
from sidestream.models.records.faults import fault_of
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.errors import DataError
from sidestream.streams.generations.pair import Pair, load_pair
from sidestream.streams.operate.reconcile import read_dump
from sidestream.streams.runtime.clock import Clock, WallClock
from sidestream.streams.settings import Settings
from sidestream.streams.tokenizing.values import item_sids
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate
from sidestream.tokenizer.sid import item_key

# Items tokenized per call: limits memory; a hundred thousand items take minutes.
_BATCH_ITEMS = 4_096
_MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item_id: The item.
        title: Title of the item in the catalogue.
        rank: Rank in the list, from 0.
        score: Score that orders the list.
        log_prob: Log-probability of the item's SID; None for an item that the model did not rank.
        sid: Its semantic id, codes joined by dashes.
        familiar: The item, its show or its creator is in the history.
        reserved: `new` if it has one of the places reserved for new items.
    """

    item_id: str
    title: str
    rank: int
    score: float
    log_prob: float | None
    sid: str
    familiar: bool
    reserved: Literal["new"] | None = None


@dataclass(frozen=True, slots=True)
class Recommendations(Sequence[Recommendation]):
    """Recommended items, best first.

    Attributes:
        items: The list.
        fallback: Why the model was not used, such as `no_history`; None if it ranked the items.
        unknown: Ids of the history that the catalogue never had; they were ignored.
    """

    items: tuple[Recommendation, ...]
    fallback: str | None = None
    unknown: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    @overload
    def __getitem__(self, place: int) -> Recommendation: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Recommendation, ...]: ...
    def __getitem__(self, place: int | slice) -> Recommendation | tuple[Recommendation, ...]:
        return self.items[place]


class Recommender:
    """Recommends from a pair and a catalogue; may be queried from several threads, and modified from one.

    Args:
        pair: The loaded tokenizer and model.
        items: The catalogue.
        settings: Settings of the recommender core and of tokenization; defaults to those of a worker.
        clock: Returns UTC epoch ms, used for expiry and newness of items.

    Raises:
        DataError: An item does not fit the contract of `catalog-items.v1`.
    """

    def __init__(
        self,
        pair: Pair,
        items: Iterable[CatalogItem | Mapping[str, Any]],
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings if settings is not None else Settings()
        self._clock = clock if clock is not None else WallClock()
        self._tokenizer = pair.tokenizer
        self._titles: dict[str, str] = {}
        self._offset = 0
        tokenizer = pair.tokenizer
        self._decoder = UpdateDecoder(tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim)
        if pair.vectorize is None:
            msg = "this pair was loaded without its model; load it with `load_pair(folder, settings)`"
            raise DataError(msg)
        self._catalogue = Catalogue(
            tokenizer.version, tokenizer.codebook_sizes, pair.dim, pair.vectorize, x_dim=tokenizer.vector_dim
        )
        self._core = RecommenderCore(
            pair.engine, tokenizer.version, pair.model_version, self._settings.recommend, pair.alignments
        )
        self._snapshot = self._catalogue.snapshot(now_ms=self._clock())
        self.add(items)

    @classmethod
    def load(
        cls,
        pair: Path | str,
        catalogue: Path | str | LogFolder | Iterable[CatalogItem | Mapping[str, Any]],
        settings: Settings | None = None,
    ) -> Self:
        """Load a pair folder and a catalogue.

        Args:
            pair: Folder with `tokenizer/` and `model/`.
            catalogue: A log folder (its catalogue as of its end), a file with one `catalog-items.v1` value per line, or
                items.
            settings: Defaults to those of a worker.

        Returns:
            The recommender.

        Raises:
            ArtifactError: The pair is missing, damaged, or its parts do not belong together.
            DataError: The catalogue cannot be read.
        """
        settings = settings if settings is not None else Settings()
        return cls(load_pair(Path(pair), settings.engine), _items(catalogue), settings)

    def __len__(self) -> int:
        return self._snapshot.num_items

    def add(self, items: Iterable[CatalogItem | Mapping[str, Any]]) -> None:
        """Add items to the catalogue, or new versions of items; they can be recommended immediately.

        Args:
            items: Values of `catalog-items.v1`. `at` may be omitted from mappings; an item without `at` and
                `published_at` does not count as new. Mappings may hold no other fields; `CatalogItem` ignores those.

        Raises:
            DataError: An item does not fit the contract; items of earlier batches have been added.
        """
        if isinstance(items, str | bytes | Mapping | CatalogItem) or not isinstance(items, Iterable):
            msg = f"items: expected an iterable of items, got {_short(items)}; put a single item into a list"
            raise DataError(msg)
        batch: list[CatalogItem] = []
        for place, item in enumerate(items):
            batch.append(_checked(item, place, self._clock()))
            if len(batch) == _BATCH_ITEMS:
                self._add(batch)
                batch = []
        self._add(batch)
        self._snapshot = self._catalogue.snapshot(now_ms=self._clock())

    def remove(self, item_ids: Iterable[str]) -> None:
        """Remove items from the catalogue.

        Args:
            item_ids: Any iterable of ids; unknown ones are ignored.

        Raises:
            DataError: There is something else than ids; nothing was removed.
        """
        for item_id in _ids("item_ids", item_ids):
            self._titles.pop(item_id, None)
            self._catalogue.apply([CatalogueUpdate(item_id=item_id, source_offset=None)])
        self._snapshot = self._catalogue.snapshot(now_ms=self._clock())

    def recommend(self, history: Iterable[str], num_candidates: int = 10, **rules: Any) -> Recommendations:
        """Recommend items for a listening history.

        Args:
            history: Item ids, oldest first; any iterable of any length.
            num_candidates: Number of items to return.
            **rules: Other fields of `session-starts.v1`, such as `discovery="unfamiliar"`, `kinds=("episode",)`,
                `languages`, `market`, `allow_explicit`, `exclude`.

        Returns:
            The items, best first.

        Raises:
            DataError: The history is no iterable of ids, or a rule does not fit the contract of `session-starts.v1`.
        """
        answer, unknown = self._answer(history, {"num_candidates": num_candidates, **rules})
        items = tuple(
            Recommendation(
                item_id=candidate.item_id,
                title=self._titles.get(candidate.item_id, ""),
                rank=candidate.rank,
                score=candidate.score,
                log_prob=candidate.log_prob,
                sid=candidate.sid,
                familiar=candidate.familiar,
                reserved=candidate.reserved,
            )
            for candidate in answer.candidates
        )
        return Recommendations(items, None if answer.fallback is None else answer.fallback.reason, unknown)

    def candidate_set(self, history: Iterable[str], **fields: Any) -> CandidateSet:
        """Compute the candidate set that a worker would publish.

        Args:
            history: Item ids, oldest first; any iterable of any length.
            **fields: Fields of `session-starts.v1`; ids and times may be omitted.

        Returns:
            The value of `candidates.v1`.

        Raises:
            DataError: The history is no iterable of ids, or a field does not fit the contract of `session-starts.v1`.
        """
        return self._answer(history, fields)[0]

    def _answer(self, history: Iterable[str], fields: Mapping[str, Any]) -> tuple[CandidateSet, tuple[str, ...]]:
        """Compute the candidate set, and list the ids of the history that are unknown."""
        now_ms = self._clock()
        item_ids = _ids("history", history)
        given = {"session_id": "library", "user_id": "library", "at": now_ms, **fields}
        try:
            start = SessionStart.model_validate(given, extra="forbid")
        except ValidationError as exc:
            msg = f"session-start: {fault_of(exc, SessionStart)}"
            raise DataError(msg) from exc
        snapshot = self._catalogue.snapshot(now_ms=now_ms)
        unknown = tuple(item_id for item_id in item_ids if snapshot.stored_sid(item_key(item_id)) is None)
        return self._core.recommend_for(start, view_of_items(item_ids, snapshot), snapshot, now_ms), unknown

    def _add(self, items: Sequence[CatalogItem]) -> None:
        if not items:
            return
        # If an item occurs twice in a batch, its last version has the higher offset.
        offsets = range(self._offset, self._offset + len(items))
        self._offset += len(items)
        values = item_sids(self._tokenizer, items, offsets, settings=self._settings.agent)
        self._catalogue.apply([self._decoder.decode(v.item_id.encode(), v.to_json()) for v in values])
        self._titles.update((item.item_id, item.title) for item in items)


def _items(
    catalogue: Path | str | LogFolder | Iterable[CatalogItem | Mapping[str, Any]],
) -> Iterable[CatalogItem | Mapping[str, Any]]:
    if isinstance(catalogue, str):
        catalogue = Path(catalogue)
    if isinstance(catalogue, Path):
        if not catalogue.is_dir():
            return read_dump(catalogue, Limits(), WallClock()()).lines()
        catalogue = LogFolder(catalogue)
    if isinstance(catalogue, LogFolder):
        held: dict[str, CatalogItem] = {}
        for event in catalogue.catalog():
            held.pop(event.item_id, None)
            if event.item is not None:
                held[event.item_id] = event.item
        return held.values()
    return catalogue


def _ids(name: str, values: Iterable[object]) -> tuple[str, ...]:
    """Return item ids as a tuple; refuse everything else, also a text, which is an iterable of its letters."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        msg = f"{name}: expected an iterable of item ids, got {_short(values)}; put a single id into a list"
        raise DataError(msg)
    item_ids: list[str] = []
    for place, item_id in enumerate(values):
        if not isinstance(item_id, str):
            msg = f"{name}[{place}]: expected an item id as text, got {_short(item_id)}"
            raise DataError(msg)
        item_ids.append(item_id)
    return tuple(item_ids)


def _checked(item: object, place: int, now_ms: int) -> CatalogItem:
    if isinstance(item, CatalogItem):
        return item
    if not isinstance(item, Mapping):
        msg = f"items[{place}]: expected a CatalogItem or a mapping of its fields, got {_short(item)}"
        raise DataError(msg)
    if item.get("removed"):
        msg = f"item {item.get('item_id')!r}: expected an item, got a removal; leave it out, or call `remove`"
        raise DataError(msg)
    fields = {"at": now_ms, **item}
    fields.pop("removed", None)
    if "at" not in item and item.get("published_at") is None:
        # The item must not count as new, as it would with a publication at the time of this call.
        fields["published_at"] = UNKNOWN_PUBLISHED_AT
    try:
        return CatalogItem.model_validate(fields, extra="forbid")
    except ValidationError as exc:
        msg = f"item {item.get('item_id')!r}: {fault_of(exc, CatalogItem)}"
        raise DataError(msg) from exc


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
