"""Wording that several views share, so that one thing is written in one way everywhere."""


def heard(share: float | None) -> str:
    """Write which part of an item was heard.

    Args:
        share: From 0 to 1, more counts as 1; None if it is not known.

    Returns:
        Such as `95%`; "" if it is not known.
    """
    return "" if share is None else f"{min(1.0, share):.0%}"


def familiar(is_familiar: bool, reserved: str | None) -> str:
    """Write whether a candidate is familiar, and what its place is reserved for.

    Args:
        is_familiar: As the candidate says.
        reserved: As the candidate says.

    Returns:
        Such as `yes` and `no, new`.
    """
    told = "yes" if is_familiar else "no"
    return told if reserved is None else f"{told}, {reserved}"
