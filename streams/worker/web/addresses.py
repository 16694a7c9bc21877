"""Addresses of the worker's pages, for those who ask: any user id fits into one."""

from urllib.parse import quote

from sidestream.models.records.base import MAX_ID_CHARS
from sidestream.streams.errors import SettingsError

STATE_PATH = "/v1/users/{user_id:any}/state"
STATE_BY_QUERY_PATH = "/v1/state"


def state_url(base: str, user_id: str, *, whole: bool = False) -> str:
    """Return where a worker shows a listener's state.

    Args:
        base: The worker's address, such as `http://127.0.0.1:8088`.
        user_id: Listener.
        whole: With all listens that are kept.

    Returns:
        The address. An id that clients or proxies would change in a path is a query value.

    Raises:
        SettingsError: No listener can have this id.
    """
    if fault := id_fault(user_id):
        msg = f"user id: {fault}"
        raise SettingsError(msg)
    quoted = quote(user_id, safe="")
    if set(user_id) & set("/\\\r\n") or user_id in (".", ".."):
        return f"{base}{STATE_BY_QUERY_PATH}?user_id={quoted}{'&history=all' if whole else ''}"
    return f"{base}/v1/users/{quoted}/state{'?history=all' if whole else ''}"


def id_fault(user_id: str) -> str:
    """Say what keeps a text from being a user id.

    Args:
        user_id: Text that was given.

    Returns:
        What was expected and what came; "" for a possible id.
    """
    if not 0 < len(user_id) <= MAX_ID_CHARS:
        return f"expected 1 to {MAX_ID_CHARS} characters, got {len(user_id)}"
    try:
        user_id.encode()
    except UnicodeEncodeError:
        return f"expected UTF-8 text, got {user_id.encode('utf-8', 'backslashreplace').decode()}"
    return ""
