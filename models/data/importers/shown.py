"""Values and bytes of foreign files as error messages show them: decoded, and never longer than a line."""

from sidestream.models.records.malformed import EIGHT_BIT

MAX_CHARS = 60


def shown(value: object) -> str:
    """Show a value of a file.

    Args:
        value: Any value; bytes are shown as the text that they are.

    Returns:
        Its Python form, shortened to about `MAX_CHARS` characters.
    """
    if isinstance(value, bytes):
        return shown(value.decode(errors="replace"))
    # What is cut before repr() keeps its closing quote.
    if isinstance(value, str):
        return repr(value) if len(value) <= MAX_CHARS else f"{value[:MAX_CHARS]!r}…"
    text = repr(value)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def shown_at(text: str, at: int | None) -> str:
    """Show a text around a place.

    Args:
        text: The text.
        at: Character that matters, from 0; None shows the beginning.

    Returns:
        The part of the text, quoted, and which character it is about.
    """
    if at is None:
        return shown(text)
    since = max(0, min(at - MAX_CHARS // 2, len(text) - MAX_CHARS))
    before, after = "…" if since else "", "…" if since + MAX_CHARS < len(text) else ""
    return f"{before}{text[since : since + MAX_CHARS]!r}{after} at character {at + 1:,}"


def utf8_fault(line: bytes) -> str | None:
    """Return what is wrong with a line of a text file that is not UTF-8; None if it is.

    Args:
        line: The line.

    Returns:
        What was expected and found.
    """
    try:
        line.decode()
    except UnicodeDecodeError as error:
        place = shown_at(line.decode(errors="replace"), len(line[: error.start].decode()))
        cause = "binary data" if b"\0" in line else f"{EIGHT_BIT}; save the file as UTF-8"
        return f"expected UTF-8, got byte {line[error.start]:02x} in {place} ({cause})"
    return None
