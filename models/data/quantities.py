"""Numbers of things in messages."""


def quantity(count: int, noun: str) -> str:
    """Write a number of things, such as `1 row` or `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
