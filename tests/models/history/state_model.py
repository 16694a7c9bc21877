"""Model of the user state in plain Python, encoded by the tables in the docstrings of `layout` and `blocks`."""

import hashlib
from dataclasses import dataclass, field

from sidestream.models.history import SIGNALS
from sidestream.tokenizer.sid import item_key

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
    history_events: int = 0
    num_blocks: int = 0
    num_strays: int = 0
    blocks: dict[int, bytes] = field(default_factory=dict)

    def erase(self, at: int) -> None:
        if self.erased_at is not None and at <= self.erased_at:
            return
        self.erased_at, self.events = at, []
        before, self.ring = self.ring, [entry for entry in self.ring if entry["at"] > at]
        if len(self.ring) < len(before) or not before:
            self.num_blocks = self.num_strays = 0
            for entry in self.ring:
                entry["archived"] = False
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
            self.add_version(len(stored.sid), tag(stored.tokenizer_version))
            entry |= {"version": tag(stored.tokenizer_version), "codes": stored.sid}
        self.ring = sorted([*self.ring, entry | {"archived": False}], key=lambda e: (e["at"], e["offset"]))
        self.archive(next(place for place, e in enumerate(self.ring) if e["offset"] == offset))
        return "applied"

    def archive(self, new: int) -> None:
        """Let go of the oldest; what goes is in a block, and a new entry among such entries is in one, too."""
        if self.history_events or self.num_blocks:
            if any(e["archived"] for e in self.ring[new:]):
                self.ring[new]["archived"] = True
                self.write(2**31 + self.num_strays % (self.history_events or 1), [self.ring[new]])
                self.num_strays += 1
            if len(self.ring) > 50 and not self.ring[0]["archived"]:
                oldest = [e for e in self.ring if not e["archived"]][:16]
                self.write(self.num_blocks % (-(-self.history_events // 16) + 1), oldest)
                self.num_blocks += 1
                for e in oldest:
                    e["archived"] = True
        self.ring = self.ring[-50:]

    def write(self, slot: int, entries: list[dict]) -> None:
        if self.history_events:
            head = bytes([1, self.levels, len(entries), len(self.versions)])
            head += self.num_blocks.to_bytes(4, "little") + self.num_strays.to_bytes(4, "little")
            self.blocks[slot] = head + b"".join(self.versions) + self.entries_to_bytes(entries)

    def add_version(self, levels: int, version: bytes) -> None:
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

        flags = len(self.versions) + 16 * (self.erased_at is not None) + 32 * (self.num_blocks > 0)
        head = bytes([2, self.levels, len(self.ring), len(self.events), flags])
        head += u(self.folded, 4) + u(self.late, 4) + self.watermark.to_bytes(8, "little", signed=True)
        if self.erased_at is not None:
            head += u(self.erased_at, 6)
        if self.num_blocks:
            head += u(sum(e["archived"] for e in self.ring), 1) + u(self.num_blocks, 3) + u(self.num_strays, 3)
        return head + b"".join(self.versions) + b"".join(self.events) + self.entries_to_bytes(self.ring)

    def to_bytes_v1(self) -> bytes:
        """What the first release wrote, which knew neither erasures nor blocks."""
        head = bytes([1, self.levels, len(self.ring), len(self.events), len(self.versions), 1])
        head += self.folded.to_bytes(4, "little") + self.late.to_bytes(4, "little") + bytes(2)
        head += b"\x01" + self.watermark.to_bytes(8, "little", signed=True)
        return head + b"".join(self.versions) + b"".join(self.events) + self.entries_to_bytes(self.ring)

    def entries_to_bytes(self, entries: list[dict]) -> bytes:
        def u(value: int, size: int) -> bytes:
            return value.to_bytes(size, "little")

        body = b""
        for e in entries:
            place = 255 if e["version"] is NO_SID else self.versions.index(e["version"])
            codes = e["codes"] or (0,) * self.levels
            body += u(e["key"], 8) + u(e["at"], 6) + bytes([e["share"], e["signal"], place])
            body += b"".join(u(code, 2) for code in codes)
        return body


def share(heard: Heard) -> int:
    if heard.listened_ms is None or heard.duration_ms is None:
        return 255
    return min(254, int(heard.listened_ms / heard.duration_ms * 254 + 0.5))
