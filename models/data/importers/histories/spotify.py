"""Importer of Spotify's extended streaming history: music, podcasts and audiobooks of one or several accounts.

Content of the files in practice, and its treatment:

- `ts` is the end of a play; so is `at`. It started `ms_played` before.
- A play has one of three groups of fields (track, episode, chapter of an audiobook), the others are null. If all are
  null, the item was removed from the service or was a local file without a name, and cannot be recommended.
- A song has several URIs (single, album, market): the same artist and title are one item.
- Offline plays occur twice, the second time with the time of the report: same item, same `offline_timestamp` and
  `ms_played`. Files of two requests overlap: same item and time.
- Plays in a private session are omitted unless requested, as the listener chose.
- IP addresses, countries and user agents are never imported.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sidestream.models.data.importers.archives import Member, members
from sidestream.models.data.importers.histories.fields import as_text
from sidestream.models.data.importers.histories.run import HistoryFacts
from sidestream.models.data.importers.histories.units import as_number, read_duration_ms, read_event_at
from sidestream.models.data.importers.json_objects import read_objects, whole
from sidestream.models.data.importers.lines import STDIN
from sidestream.models.data.plays import Items, Play, RowReport, Words
from sidestream.models.data.plays.items import fits_id
from sidestream.models.errors import DataError
from sidestream.models.records import Signal

# The files were called `endsong` until 2022.
PREFIXES = ("Streaming_History_Audio", "Streaming_History_Video", "Streaming_History", "endsong", "endvideo")
# A play that the listener ended before this time counts as a skip.
SKIPPED_BELOW_MS = 30_000
_ENDED_BY_LISTENER = frozenset({"fwdbtn", "backbtn", "nextbtn", "clickrow", "playbtn"})
_ACCOUNT_DATA = frozenset({"endTime", "msPlayed"})


@dataclass(frozen=True, slots=True)
class SpotifyOptions:
    """Options of an import.

    Attributes:
        user: The listener for a single account; None uses the folder's name.
        private: Whether to import plays of private sessions.
    """

    user: str | None = None
    private: bool = False


class SpotifyHistory:
    """Plays of one account, or of several with a separate folder (or zip) each.

    Args:
        path: Folder, zip, or one JSON file; `-` for standard input.
        options: Options of the import.
    """

    def __init__(self, path: Path | str, options: SpotifyOptions | None = None) -> None:
        self._path = path
        self._options = options or SpotifyOptions()
        self._accounts: set[str] = set()
        self._files = 0

    def plays(self, items: Items, report: RowReport, latest_at: int) -> Iterator[Play]:
        """Read the plays; see `History`."""
        for user_id, member in self._members():
            self._files += 1
            self._accounts.add(user_id)
            name = member.source.name
            for line, row in read_objects(member.source, "a play as a JSON object"):
                report.rows += 1
                try:
                    play = self._play(whole(row), user_id, items, report, latest_at)
                except ValueError as error:
                    report.damage(name, line, str(error))
                    continue
                if play is not None:
                    yield play
        if not self._files:
            msg = (
                f"{self._path}: expected files such as Streaming_History_Audio_2024_1.json, got none; ask Spotify for "
                "the extended streaming history and give the zip or its folder"
            )
            raise DataError(msg)

    def facts(self) -> HistoryFacts:
        """Describe the source; see `History`."""
        return HistoryFacts(
            name="spotify",
            source=f"Spotify extended streaming history, {len(self._accounts):,} accounts, {self._files:,} files",
            licence="Personal data of the accounts' owners.",
            events_are=f"plays; a skip is one that its listener ended within {SKIPPED_BELOW_MS // 1_000} s",
            clock="`at` is the end of a play (`ts`).",
            notes=("The same artist and title are one item, whatever its URIs; its id is the first URI seen.",),
            settings={"private": self._options.private},
        )

    def _members(self) -> Iterator[tuple[str, Member]]:
        """Yield the files, each with its account."""
        root = Path(self._path)
        if str(self._path) == STDIN or not root.is_dir():
            user_id = self._options.user or (root.stem if str(self._path) != STDIN else "listener")
            yield from ((user_id, member) for member in members(self._path, _is_history))
            return
        accounts = [inside for inside in sorted(root.iterdir()) if _has_history(inside)]
        own = any(inside.is_file() and inside.suffix != ".zip" for inside in accounts)
        if own or len(accounts) < 2:
            inside = accounts[0] if accounts and accounts[0].suffix == ".zip" and not own else root
            user_id = self._options.user or root.resolve().name
            yield from ((user_id, member) for member in members(inside, _is_history))
            return
        if self._options.user is not None:
            msg = (
                f"{root}: expected one account for --user, got {len(accounts)} ({accounts[0].name}, "
                f"{accounts[1].name}, …); omit --user: each folder's name is a listener"
            )
            raise DataError(msg)
        for inside in accounts:
            user_id = inside.stem if inside.is_file() else inside.name
            yield from ((user_id, member) for member in members(inside, _is_history))

    def _play(
        self, row: Mapping[str, Any], user_id: str, items: Items, report: RowReport, latest_at: int
    ) -> Play | None:
        if row.keys() >= _ACCOUNT_DATA:
            msg = "expected the extended streaming history, got the account data: ask Spotify for the other package"
            raise ValueError(msg)
        at = read_event_at(_required(row, "ts"), "iso", latest_at)
        listened_ms = read_duration_ms(_required(row, "ms_played"), "ms", "ms_played")
        if not listened_ms:
            report.leave_out("nothing was played (0 ms)")
            return None
        if row.get("incognito_mode") is True and not self._options.private:
            report.leave_out("in a private session (--private takes them)")
            return None
        item = _item(row, items, at)
        if item is None:
            report.leave_out("no item is named (gone from the service, or a local file)")
            return None
        return Play(
            user_id=user_id,
            item=item,
            at=at,
            started_at=at - listened_ms,
            ended_at=at,
            listened_ms=listened_ms,
            signal=_signal(row, listened_ms),
            device=as_text(row.get("platform")) or None,
            twin=_twin(row, item, listened_ms),
        )


def _is_history(path: PurePosixPath) -> bool:
    name = path.name.removesuffix(".gz")
    return name.startswith(PREFIXES) and name.endswith(".json")


def _has_history(path: Path) -> bool:
    """Return whether a folder, an archive or a file of the source contains plays."""
    if path.is_dir():
        return any(_is_history(PurePosixPath(file.as_posix())) for file in path.rglob("*.json*"))
    return path.suffix == ".zip" or _is_history(PurePosixPath(path.name))


def _item(row: Mapping[str, Any], items: Items, at: int) -> str | None:
    title = as_text(row.get("master_metadata_track_name"))
    uri = as_text(row.get("spotify_track_uri"))
    if title or uri:
        words = Words(
            title=title,
            creator=as_text(row.get("master_metadata_album_artist_name")) or None,
            show=as_text(row.get("master_metadata_album_album_name")) or None,
        )
        if title and words.creator:
            return items.of_name((uri,) if fits_id(uri) else (), words, at)
        return items.of_id(uri, words, at) if fits_id(uri) else None
    uri = as_text(row.get("spotify_episode_uri"))
    if uri or row.get("episode_name"):
        show = as_text(row.get("episode_show_name")) or None
        words = Words(kind="episode", title=as_text(row.get("episode_name")), show=show, creator=show)
        return items.of_id(uri, words, at) if fits_id(uri) else items.of_name((), words, at)
    book = as_text(row.get("audiobook_title"))
    uri = as_text(row.get("audiobook_chapter_uri")) or as_text(row.get("audiobook_uri"))
    if uri or book:
        title = as_text(row.get("audiobook_chapter_title")) or book
        words = Words(kind="audiobook", title=title, show=book or None)
        return items.of_id(uri, words, at) if fits_id(uri) else items.of_name((), words, at)
    return None


def _signal(row: Mapping[str, Any], listened_ms: int) -> Signal:
    # `skipped` alone does not do: it is null in old files, and true of plays left after most of the track.
    is_ended = row.get("skipped") in (True, 1) or row.get("reason_end") in _ENDED_BY_LISTENER
    return "skip" if is_ended and listened_ms < SKIPPED_BELOW_MS else "listen"


def _twin(row: Mapping[str, Any], item: str, listened_ms: int) -> str | None:
    offline_at = as_number(row.get("offline_timestamp"))
    if row.get("offline") not in (True, 1) or not offline_at:
        return None
    return f"{item}/{offline_at:.0f}/{listened_ms}"


def _required(row: Mapping[str, Any], name: str) -> Any:
    if (value := row.get(name)) is None:
        msg = f"expected {name}, got none"
        raise ValueError(msg)
    return value
