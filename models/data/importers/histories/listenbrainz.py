"""Importer of ListenBrainz dumps (`listens/2026/3.listens`) and exports of one user (zip, folder or JSON lines).

Content of the files in practice, and its treatment:

- A recording has several MusicBrainz ids (several for one song), or none; any of them may be null. The same artist and
  title are one item here; its id is the first MusicBrainz id seen with it.
- `mbid_mapping` is null if a listen could not be matched. If it names the recording, its spelling is used.
- `listened_at` is the start of a play in seconds, in old dumps called `timestamp`; 0 or missing in damaged rows.
- `duration_ms` is a number or a text; `duration` is in seconds, from some clients in milliseconds.
- An object around many listens is a client's submission (`payload` is the list) or an answer of the public API
  (`payload.listens`).
- Listens of `playing_now` have no time and are not plays.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sidestream.models.data.importers.archives import Member, members
from sidestream.models.data.importers.histories.fields import as_text, at_path
from sidestream.models.data.importers.histories.run import HistoryFacts
from sidestream.models.data.importers.histories.units import as_number, read_event_at
from sidestream.models.data.importers.json_objects import decode_object, read_objects
from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import STDIN
from sidestream.models.data.importers.shown import shown
from sidestream.models.data.plays import Items, Play, RowReport, Words
from sidestream.models.data.plays.items import fits_id
from sidestream.models.errors import DataError

LISTEN_SUFFIXES = (".listens", ".jsonl", ".json")
# Files of an export without listens.
OTHER_FILES = frozenset({"user.json", "feedback.jsonl", "pinned_recording_feedback.jsonl", "pinned_recordings.jsonl"})
MAX_TRACK_S = 86_400


class ListenBrainzHistory:
    """Listens of one user or of all.

    Args:
        path: Folder, zip or tar archive, or one file; `-` for standard input.
        user: The listener if rows have none; by default the one in `user.json` of an export.
    """

    def __init__(self, path: Path | str, user: str | None = None) -> None:
        self._path = path
        self._user = user
        self._found_user: str | None = None
        self._files = 0
        self._doubtful: set[str] = set()

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the listens; see `History`."""
        self._found_user = self._user or self._user_of_export()
        self._doubtful = items.doubtful
        for member in members(self._path, _has_listens):
            self._files += 1
            for line, row in _rows(member, report):
                try:
                    play = self._play(row, items, latest_at)
                except ValueError as error:
                    report.damage(member.source.name, line, str(error))
                    continue
                if play is None:
                    report.leave_out("what is playing now, not a play")
                else:
                    yield play
        if not self._files:
            msg = f"{self._path}: expected files of listens ({', '.join(LISTEN_SUFFIXES)}), got none"
            raise DataError(msg)

    def facts(self) -> HistoryFacts:
        """Describe the source; see `History`."""
        notes = ["The same artist and title are one item, whatever its ids; its id is the first MusicBrainz id seen."]
        if self._doubtful:
            notes.append(f"{len(self._doubtful):,} MusicBrainz ids had too many titles and were ignored.")
        return HistoryFacts(
            name="listenbrainz",
            source=f"ListenBrainz: {Path(str(self._path)).name}, {self._files:,} files of listens",
            licence="ListenBrainz dumps are CC0; an export is its owner's personal data.",
            events_are="listens, submitted by players once a track was played",
            clock="`at` is the start of a play, in seconds (`listened_at`).",
            notes=tuple(notes),
        )

    def _user_of_export(self) -> str | None:
        if str(self._path) == STDIN or not Path(self._path).exists() or Path(self._path).suffix in (".xz", ".zst"):
            return None
        for member in members(self._path, lambda path: path.name == "user.json"):
            if member.path.name != "user.json":
                return None
            for _, text in read_json(member.source):
                try:
                    found = decode_object(text)
                except ValueError:
                    return None
                name = found.get("username") or found.get("user_name")
                return name if isinstance(name, str) and fits_id(name) else None
        return None

    def _play(self, row: Mapping[str, Any], items: Items, latest_at: int) -> Play | None:
        given = row.get("listened_at", row.get("timestamp"))
        if given is None and (row.get("listen_type") == "playing_now" or row.get("playing_now") is True):
            return None
        if given is None or given == 0:
            msg = f"expected listened_at in seconds, got {shown(given)}"
            raise ValueError(msg)
        is_text = isinstance(given, str) and as_number(given) is None
        at = read_event_at(given, "iso" if is_text else "s", latest_at)
        track = row.get("track_metadata")
        if not isinstance(track, Mapping):
            msg = f"expected track_metadata, got {shown(track)}"
            raise ValueError(msg)
        extra = track.get("additional_info")
        info: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
        user_id = as_text(row.get("user_name")) or as_text(row.get("user_id")) or self._found_user or "listener"
        if not fits_id(user_id):
            msg = f"expected a user name of 1 to 256 characters, got {len(user_id)}"
            raise ValueError(msg)
        duration_ms = _duration_ms(info)
        return Play(
            user_id=user_id,
            item=_item(row, track, info, duration_ms, items, at),
            at=at,
            started_at=at,
            # The listened time is unknown, but clients submit a listen only after half of the track.
            ended_at=at + (duration_ms or 0),
            duration_ms=duration_ms,
            device=as_text(info.get("media_player")) or None,
        )


def _has_listens(path: PurePosixPath) -> bool:
    stem = path.name.removesuffix(".gz")
    return stem.endswith(LISTEN_SUFFIXES) and stem not in OTHER_FILES and not stem.startswith(".")


def _rows(member: Member, report: RowReport) -> Iterator[tuple[int, Mapping[str, Any]]]:
    name = member.source.name
    for line, row in read_objects(member.source, "a listen as a JSON object"):
        report.rows += 1
        if isinstance(row, str):
            report.damage(name, line, row)
        elif (listens := _listens_in(row)) is not None:
            report.rows += len(listens) - 1
            for listen in listens:
                if isinstance(listen, dict):
                    yield line, {**_common(row), **listen}
                else:
                    report.damage(name, line, f"expected listens in payload, got {shown(listen)}")
        else:
            yield line, row


def _listens_in(row: Mapping[str, Any]) -> list[Any] | None:
    """Return the listens of a client's submission, or of an answer of the public API; None for a single listen."""
    payload = row.get("payload")
    found = payload.get("listens") if isinstance(payload, Mapping) else payload
    return found if isinstance(found, list) else None


def _common(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object around listens says of all of them."""
    payload = row["payload"]
    around = payload if isinstance(payload, Mapping) else row
    return {name: around[name] for name in ("listen_type", "playing_now", "user_id") if name in around}


def _item(
    row: Mapping[str, Any],
    track: Mapping[str, Any],
    info: Mapping[str, Any],
    duration_ms: int | None,
    items: Items,
    at: int,
) -> str:
    mapping = track.get("mbid_mapping")
    mapped: Mapping[str, Any] = mapping if isinstance(mapping, Mapping) else {}
    title = as_text(mapped.get("recording_name")) or as_text(track.get("track_name"))
    artist = as_text(at_path(mapped, "artist_credit_name")) or _credit(mapped) or as_text(track.get("artist_name"))
    # A mapping may have only the recording's name: both names must use one spelling.
    if not title:
        msg = "expected a track_name, got none"
        raise ValueError(msg)
    tags = info.get("tags")
    words = Words(
        title=title,
        creator=artist or None,
        show=as_text(track.get("release_name")) or None,
        tags=tuple(dict.fromkeys(tag for tag in tags if isinstance(tag, str) and tag))
        if isinstance(tags, list)
        else (),
        duration_ms=duration_ms,
    )
    found = (info.get("recording_mbid"), mapped.get("recording_mbid"), row.get("recording_mbid"))
    ids = tuple(dict.fromkeys(text for value in found if isinstance(value, str) and fits_id(text := value.strip())))
    if not artist:
        msid = as_text(row.get("recording_msid")) or as_text(info.get("recording_msid"))
        ids = ids or ((f"msid:{msid}",) if msid else ())
        if not ids:
            msg = "expected an artist_name or an id of the recording, got none"
            raise ValueError(msg)
        # A title alone does not identify a recording.
        return items.of_id(ids[0], words, at)
    return items.of_name(ids, words, at)


def _credit(mapped: Mapping[str, Any]) -> str:
    artists = mapped.get("artists")
    if not isinstance(artists, list):
        return ""
    parts = [
        f"{as_text(artist.get('artist_credit_name'))}{artist.get('join_phrase') or ''}"
        for artist in artists
        if isinstance(artist, Mapping)
    ]
    return "".join(parts).strip()


def _duration_ms(info: Mapping[str, Any]) -> int | None:
    number = as_number(info.get("duration_ms"))
    if number is None:
        seconds = as_number(info.get("duration"))
        number = None if seconds is None else seconds if seconds > MAX_TRACK_S else seconds * 1_000
    return round(number) if number is not None and 0.5 < number <= MAX_TRACK_S * 1_000 else None
