"""The dead letters of an installation, read from their topics."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from sidestream.streams.contracts.topics import Topics, TopicSpec
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.tail import read_record, read_topic
from sidestream.streams.operate.deadletters.letter import Letter, Place, marked, read_letter
from sidestream.streams.operate.deadletters.selection import Selection


class DeadLetterBox:
    """Finds dead letters.

    Args:
        clients: Kafka clients.
        topics: All topics.
        prefix: What their names begin with; people may leave it out.
    """

    def __init__(self, clients: Clients, topics: Topics, prefix: str = "") -> None:
        self._clients = clients
        self._prefix = prefix
        self._by_letters = {spec.dead_letters: spec for spec in topics if spec.dead_letters is not None}

    def letter_topics(self, selection: Selection) -> list[str]:
        """Say on which topics the letters of a choice lie.

        Args:
            selection: The choice.

        Returns:
            Dead-letter topics.

        Raises:
            TopicError: It names a topic that has no dead letters.
        """
        named = {self._resolve(name) for name in selection.topics} or set(self._by_letters)
        placed = {self._resolve(place.topic) for place in selection.places} or named
        return [name for name in self._by_letters if name in named & placed]

    def replayed(self, topic: str) -> dict[int, set[int]]:
        """Read which letters were replayed.

        Args:
            topic: Dead-letter topic.

        Returns:
            Offsets of replayed letters by partition.
        """
        found: dict[int, set[int]] = defaultdict(set)
        for record in read_topic(self._clients, topic):
            if (offsets := marked(record)) is not None:
                found[record.partition] |= offsets
        return found

    def letters(self, topic: str, selection: Selection) -> Iterator[Letter]:
        """Read the letters of a choice, up to the end of the topic as it is at the first of them.

        Args:
            topic: Dead-letter topic.
            selection: The choice.

        Yields:
            Letters, in order inside a partition.
        """
        chosen = replace(selection, places=frozenset(self._whole(place) for place in selection.places))
        for record in read_topic(self._clients, topic):
            if marked(record) is None and chosen.matches(letter := read_letter(topic, record)):
                yield letter

    def get(self, place: Place) -> Letter:
        """Read one letter.

        Args:
            place: Where it lies.

        Returns:
            The letter.

        Raises:
            TopicError: Nothing lies there (any more), or it is the mark of a replay.
        """
        place = self._whole(place)
        record = read_record(self._clients, *place)
        if record is None:
            msg = f"{place}: expected a dead letter, got none; it is past its retention or was never there"
            raise TopicError(msg)
        if (offsets := marked(record)) is not None:
            msg = f"{place}: expected a dead letter, got the mark that {len(offsets)} letters were replayed"
            raise TopicError(msg)
        return read_letter(place.topic, record)

    def source_of(self, topic: str) -> TopicSpec:
        """Name the topic whose dead letters lie on a topic.

        Args:
            topic: Dead-letter topic.

        Returns:
            Its contract.
        """
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
