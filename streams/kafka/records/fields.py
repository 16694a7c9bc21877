"""The fields of one record of a batch, read one after the other as far as they make sense."""

_MAX_VARINT_BYTES = 10
_SHOWN_BYTES = 40


class Fields:
    """The fields of a record, as far as they were read."""

    def __init__(self) -> None:
        self.timestamp_delta: int | None = None
        self.offset_delta: int | None = None
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.has_value = False
        self.headers: list[tuple[str, bytes | None]] = []
        self.why = ""

    def read(self, cursor: "Cursor") -> None:
        """Read all fields in order; raises `ValueError` at the first that cannot be read."""
        cursor.take(1, "attributes")
        self.timestamp_delta = cursor.varint("timestamp")
        self.offset_delta = cursor.varint("offset")
        self.key = cursor.field("key")
        self.value = cursor.field("value")
        self.has_value = True
        count = cursor.varint("number of headers")
        if count < 0:
            msg = f"number of headers: expected 0 or more, got {count}"
            raise ValueError(msg)
        for number in range(count):
            name = cursor.field(f"name of header {number + 1}")
            if name is None:
                msg = f"name of header {number + 1}: expected text, got null"
                raise ValueError(msg)
            self.headers.append((self._name(name, number), cursor.field(f"value of header {number + 1}")))
        if cursor.at < cursor.end:
            msg = f"expected the record to end behind its headers, got {cursor.end - cursor.at} bytes more"
            raise ValueError(msg)

    def _name(self, name: bytes, number: int) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            self.why = self.why or f"name of header {number + 1}: expected UTF-8, got {name[:_SHOWN_BYTES]!r}"
            return name.decode(errors="backslashreplace")


class Cursor:
    """A position in bytes; every read is checked against their end."""

    def __init__(self, raw: bytes, at: int, end: int) -> None:
        self.raw, self.at, self.end = raw, at, end

    def varint(self, what: str) -> int:
        """Read a zigzag varint of at most 64 bits."""
        value = 0
        for number in range(_MAX_VARINT_BYTES):
            if self.at >= self.end:
                break
            byte = self.raw[self.at]
            self.at += 1
            value |= (byte & 0x7F) << (7 * number)
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)
        msg = f"{what}: expected a number, got bytes that are none"
        raise ValueError(msg)

    def field(self, what: str) -> bytes | None:
        """Read bytes behind their length; None for a length of -1."""
        length = self.varint(f"length of the {what}")
        return None if length < 0 else self.take(length, what)

    def take(self, length: int, what: str) -> bytes:
        """Read that many bytes."""
        end = self.end_of(length, what)
        found, self.at = self.raw[self.at : end], end
        return found

    def end_of(self, length: int, what: str) -> int:
        """Return where so many bytes from here end."""
        if not 0 <= length <= self.end - self.at:
            msg = f"{what}: expected at most {self.end - self.at} bytes, got a length of {length}"
            raise ValueError(msg)
        return self.at + length
