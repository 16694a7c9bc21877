"""URLs of the worker's state endpoint, for clients: every user id can be expressed in one."""

from urllib.parse import quote

from sidestream.models.records.base import MAX_ID_CHARS
from sidestream.streams.errors import SettingsError

STATE_PATH = "/v1/users/{user_id:any}/state"
STATE_BY_QUERY_PATH = "/v1/state"


def state_url(base: str, user_id: str, *, whole: bool = False) -> str:
    """Return the URL of a listener's state.

    Args:
        base: The worker's base URL, for example `http://127.0.0.1:8088`.
        user_id: The listener.
        whole: Whether to include all stored listens.

    Returns:
        The URL. An id that clients or proxies would change in a path is passed as a query value.

    Raises:
        SettingsError: The text is not a valid user id.
    """
    if fault := id_fault(user_id):
        msg = f"user id: {fault}"
        raise SettingsError(msg)
    quoted = quote(user_id, safe="")
    if set(user_id) & set("/\\\r\n") or user_id in (".", ".."):
        return f"{base}{STATE_BY_QUERY_PATH}?user_id={quoted}{'&history=all' if whole else ''}"
    return f"{base}/v1/users/{quoted}/state{'?history=all' if whole else ''}"


def id_fault(user_id: str) -> str:
    """Return why a text is not a valid user id: expected and got; "" for a valid one."""
    if not 0 < len(user_id) <= MAX_ID_CHARS:
        return f"expected 1 to {MAX_ID_CHARS} characters, got {len(user_id)}"
    try:
        user_id.encode()
    except UnicodeEncodeError:
        return f"expected UTF-8 text, got {user_id.encode('utf-8', 'backslashreplace').decode()}"
    return ""
