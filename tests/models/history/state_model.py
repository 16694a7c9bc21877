"""The user state in plain Python, written to bytes from the table in `models.history.layout` alone."""

import hashlib
from dataclasses import dataclass, field

from models.history import SIGNALS
from tokenizer.sid import item_key

NO_SID = None


@dataclass(frozen=True)
class Heard:
    """What the fold reads of a listen."""

    event_id: str
    item_id: str
    at: int
    listened_ms: int | None = None
    duration_ms: int | None = None
    signal: str = "listen"


def tag(version: str) -> bytes:
    try:
        raw = bytes.fromhex(version) if version == version.lower() else b""
    except ValueError:
        raw = b""
    return raw if len(version) == 12 and len(raw) == 6 else hashlib.blake2b(version.encode(), digest_size=6).digest()


@dataclass
class Model:
    levels: int = 0
    folded: int = 0
    late: int = 0
    watermark: int = -1
    versions: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    ring: list[dict] = field(default_factory=list)
    erased_at: int | None = None

    def erase(self, at: int) -> None:
        if self.erased_at is not None and at <= self.erased_at:
            return
        self.erased_at, self.events = at, []
        self.ring = [entry for entry in self.ring if entry["at"] > at]
        self.folded, self.late = len(self.ring), 0
        self.versions = [known for known in self.versions if any(e["version"] == known for e in self.ring)]
        self.levels = self.levels if self.versions else 0
        self.forget(set(self.versions))

    def fold(self, offset: int, heard: Heard, lookup) -> str:
        if offset <= self.watermark:
            return "stale"
        self.watermark = offset
        if self.erased_at is not None and heard.at <= self.erased_at:
            return "erased"
        event = hashlib.blake2b(heard.event_id.encode(), digest_size=6).digest()
        if event in self.events:
            return "repeat"
        self.events = [*self.events, event][-32:]
        self.folded += 1
        if len(self.ring) == 50 and heard.at < self.ring[0]["at"]:
            self.late += 1
            return "late"
        key = item_key(heard.item_id)
        entry = {"key": key, "at": heard.at, "offset": offset, "share": share(heard), "version": NO_SID, "codes": ()}
        entry["signal"] = SIGNALS.index(heard.signal)
        stored = lookup(key)
        if stored is not None:
            self.make_room(len(stored.sid), tag(stored.tokenizer_version))
            entry |= {"version": tag(stored.tokenizer_version), "codes": stored.sid}
        self.ring = sorted([*self.ring, entry], key=lambda e: (e["at"], e["offset"]))[-50:]
        return "applied"

    def make_room(self, levels: int, version: bytes) -> None:
        if levels != self.levels:
            self.levels, self.versions = levels, []
            self.forget(set())
        if version in self.versions:
            return
        if len(self.versions) == 4:
            used = [known for known in self.versions if any(e["version"] == known for e in self.ring)]
            self.versions = used[1:] if len(used) == 4 else used
            self.forget(set(self.versions))
        self.versions.append(version)

    def forget(self, kept: set[bytes]) -> None:
        for entry in self.ring:
            if entry["version"] not in kept:
                entry["version"], entry["codes"] = NO_SID, ()

    def to_bytes(self) -> bytes:
        def u(value: int, size: int) -> bytes:
            return value.to_bytes(size, "little")

        v = 1 if self.erased_at is None else 2
        head = bytes([v, self.levels, len(self.ring), len(self.events), len(self.versions), v])
        head += u(self.folded, 4) + u(self.late, 4) + u(0, 2)
        head += b"\x01" + self.watermark.to_bytes(8, "little", signed=True)
        if self.erased_at is not None:
            head += b"\x02" + self.erased_at.to_bytes(8, "little", signed=True)
        body = b""
        for e in self.ring:
            place = 255 if e["version"] is NO_SID else self.versions.index(e["version"])
            codes = e["codes"] or (0,) * self.levels
            body += u(e["key"], 8) + u(e["at"], 6) + bytes([e["share"], e["signal"], place])
            body += b"".join(u(code, 2) for code in codes)
        return head + b"".join(self.versions) + b"".join(self.events) + body


def share(heard: Heard) -> int:
    if heard.listened_ms is None or heard.duration_ms is None:
        return 255
    return min(254, int(heard.listened_ms / heard.duration_ms * 254 + 0.5))
