"""Type of a record that is ready to be sent."""

Outgoing = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Topic, key, value and headers."""
