r"""Escapes values for a Java properties file, so that Java reads back the same text.

Java reads such files as ISO-8859-1 (as does Kafka): all other characters are written as UTF-16 units, `\uXXXX`.

Source: `java.util.Properties.load` and `store`, API documentation of Java 17.
"""

_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
# Only a leading space and a backslash must be escaped in a value; the others are those that Java itself escapes.
_WITH_BACKSLASH = frozenset("\\:=#!")


def escaped(value: str) -> str:
    """Escape one value.

    Args:
        value: Any text; Kafka itself strips spaces at both ends.

    Returns:
        ASCII without line breaks.
    """
    body = value.lstrip(" ")
    return "\\ " * (len(value) - len(body)) + "".join(map(_escaped_character, body))


def _escaped_character(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character in _WITH_BACKSLASH:
        return "\\" + character
    if " " <= character <= "~":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4].upper()}" for at in range(0, len(units), 4))
