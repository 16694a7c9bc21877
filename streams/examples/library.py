"""Recommend for a list of items without any Kafka: the shipped model over the built-in world, in one process."""

import tempfile
from pathlib import Path

from sidestream.models.data import LogFolder
from sidestream.models.history import fold
from sidestream.models.recommend import Recommender
from sidestream.models.records import CandidateSet, CatalogItem, Listen, SessionStart
from sidestream.models.settings import EngineSettings
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.generations.pair import Pair, load_pair
from sidestream.streams.tokenizing.values import item_sids
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot


def catalogue_of(pair: Pair, items: list[CatalogItem]) -> CatalogueSnapshot:
    """Give items their SIDs and make a catalogue of them."""
    if pair.vectorize is None:
        msg = "expected a pair with a model, got a tokenizer alone; train one with `sidestream train model`"
        raise ValueError(msg)
    tokenizer = pair.tokenizer
    decoder = UpdateDecoder(tokenizer.version, tokenizer.codebook_sizes, tokenizer.vector_dim)
    catalogue = Catalogue(
        tokenizer.version, tokenizer.codebook_sizes, pair.dim, pair.vectorize, x_dim=tokenizer.vector_dim
    )
    values = item_sids(tokenizer, items, list(range(len(items))))
    catalogue.apply([decoder.decode(value.item_id.encode(), value.to_json()) for value in values])
    return catalogue.snapshot()


def recommend(pair: Pair, catalogue: CatalogueSnapshot, item_ids: list[str], now_ms: int) -> CandidateSet:
    """Recommend to somebody who has listened to these items, the last one just now."""
    listens = [
        Listen(event_id=str(number), user_id="me", item_id=item_id, at=now_ms - 1_000 * (len(item_ids) - number))
        for number, item_id in enumerate(item_ids)
    ]
    state = fold(None, list(enumerate(listens)), catalogue.stored_sid).state
    start = SessionStart(session_id="now", user_id="me", at=now_ms, num_candidates=10)
    recommender = Recommender(pair.engine, pair.tokenizer.version, pair.model_version)
    return recommender.recommend(start, state, catalogue, now_ms)


def main(folder: Path) -> None:
    """Make a world in the folder, listen to one creator's first three items, and print what to hear next."""
    generate_world(folder, WorldSettings(listeners=60, days=6))
    log = LogFolder(folder)
    items = [event.item for event in log.catalog() if event.item is not None and event.item.expires_at is None]
    titles = {item.item_id: f"{item.title} ({item.show or item.creator})" for item in items}
    heard = [item.item_id for item in items if item.creator == items[0].creator and item.show == items[0].show][:3]
    pair = load_pair(shipped_pair(), EngineSettings())
    answer = recommend(pair, catalogue_of(pair, items), heard, log.manifest.last_at or 0)
    print("heard:", *(f"  {titles[item_id]}" for item_id in heard), sep="\n")
    print("next:", *(f"  {titles[candidate.item_id]}" for candidate in answer.candidates), sep="\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch) / "world")
