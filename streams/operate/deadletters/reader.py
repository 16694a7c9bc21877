"""Reads the dead letters of an installation from their topics."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from sidestream.streams.contracts.topics import Topics, TopicSpec
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_record, read_topic
from sidestream.streams.operate.deadletters.letter import Letter, Place, read_letter, read_mark
from sidestream.streams.operate.deadletters.selection import Selection


class DeadLetterReader:
    """Finds dead letters.

    Args:
        clients: Kafka clients.
        topics: All topics.
        prefix: Prefix of the topic names; callers may omit it.
    """

    def __init__(self, clients: Clients, topics: Topics, prefix: str = "") -> None:
        self._clients = clients
        self._prefix = prefix
        self._by_letters = {spec.dead_letters: spec for spec in topics if spec.dead_letters is not None}

    def letter_topics(self, selection: Selection) -> list[str]:
        """List the dead-letter topics of a selection.

        Args:
            selection: Which letters.

        Returns:
            Names of the topics.

        Raises:
            TopicError: The selection names a topic that has no dead letters.
        """
        named = {self._resolve(name) for name in selection.topics} or set(self._by_letters)
        placed = {self._resolve(place.topic) for place in selection.places} or named
        return [name for name in self._by_letters if name in named & placed]

    def replayed(self, topic: str) -> dict[int, set[int]]:
        """Return the offsets of the replayed letters of a dead-letter topic, by partition."""
        found: dict[int, set[int]] = defaultdict(set)
        for record in read_topic(self._clients, topic):
            if (offsets := read_mark(record)) is not None:
                found[record.partition] |= offsets
        return found

    def letters(self, topic: str, selection: Selection) -> Iterator[Letter]:
        """Read the selected letters, up to the end offsets of the topic at the first letter.

        Args:
            topic: Dead-letter topic.
            selection: Which letters to read.

        Yields:
            Letters, in order within a partition.
        """
        chosen = replace(selection, places=frozenset(self._whole(place) for place in selection.places))
        for record in read_topic(self._clients, topic):
            if read_mark(record) is None and chosen.matches(letter := read_letter(topic, record)):
                yield letter

    def get(self, place: Place) -> Letter:
        """Read one letter.

        Args:
            place: Its topic, partition and offset.

        Returns:
            The letter.

        Raises:
            TopicError: There is no record at that place (any more), or it is the mark of a replay.
        """
        place = self._whole(place)
        record = read_record(self._clients, *place)
        if record is None:
            msg = f"{place}: expected a dead letter, got none; it is past its retention or never existed"
            raise TopicError(msg)
        if (offsets := read_mark(record)) is not None:
            msg = f"{place}: expected a dead letter, got the mark that {len(offsets)} letters were replayed"
            raise TopicError(msg)
        return read_letter(place.topic, record)

    def source_of(self, topic: str) -> TopicSpec:
        """Return the source topic of a dead-letter topic."""
        return self._by_letters[topic]

    def _whole(self, place: Place) -> Place:
        return place._replace(topic=self._resolve(place.topic))

    def _resolve(self, name: str) -> str:
        for letters, spec in self._by_letters.items():
            if {name, self._prefix + name} & {letters, spec.name}:
                return letters
        known = ", ".join(spec.name for spec in self._by_letters.values())
        msg = f"{name}: expected a topic with dead letters, one of {known}"
        raise TopicError(msg)
