"""Names and tags of the Last.fm artists, and their catalogue items."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.lines import decode_text, line_error, read_lines
from sidestream.models.records import CatalogItem
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Names and tags by artist number."""

    names: Mapping[int, str]
    tags: Mapping[int, tuple[str, ...]]
    at: int

    def item(self, artist: int) -> CatalogItem:
        """Return one artist as a catalogue item."""
        return CatalogItem(
            item_id=f"artist-{artist}",
            kind="track",
            title=self.names.get(artist, f"Artist {artist}"),
            tags=self.tags.get(artist, ()),
            at=self.at,
            published_at=UNKNOWN_PUBLISHED_AT,
        )


def read_names(path: Path, id_column: str, name_column: str) -> dict[int, str]:
    """Read a file of numbers and names, tab-separated, with a header.

    Args:
        path: `artists.dat` or `tags.dat`.
        id_column: Header of the first column.
        name_column: Header of the second column; further columns are ignored.

    Returns:
        Names by number, without empty ones.

    Raises:
        DataError: The file is missing or a line has no number or no name column.
    """
    names: dict[int, str] = {}
    for number, raw in read_lines(path):
        fields = decode_text(raw).split("\t")
        if number == 1:
            if fields[:2] != [id_column, name_column]:
                raise line_error(path, 1, f"the header {id_column}, {name_column}", raw)
            continue
        if len(fields) < 2 or not fields[0].isdecimal():
            raise line_error(path, number, "a number, a tab and a name", raw)
        if name := " ".join(fields[1].split()):
            names[int(fields[0])] = name
    return names


def tag_texts(
    counts: Mapping[int, Counter[int]], names: Mapping[int, str], max_tags: int
) -> dict[int, tuple[str, ...]]:
    """Return the names of the most frequent tags of each artist.

    Args:
        counts: Number of uses of each tag, by artist.
        names: Tag names; tags without one are omitted.
        max_tags: Maximum number of tags; ties by tag number.

    Returns:
        Tags by artist, most frequent first.
    """
    chosen: dict[int, tuple[str, ...]] = {}
    for artist, tags in counts.items():
        ranked = sorted((tag for tag in tags if tag in names), key=lambda tag: (-tags[tag], tag))
        chosen[artist] = tuple(dict.fromkeys(names[tag] for tag in ranked[:max_tags]))
    return chosen
