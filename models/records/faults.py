"""Faults that pydantic finds, in the words of all our messages: what was expected, and what came."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sidestream.models.records.unknown_fields import unknown_field

MAX_SHOWN_CHARS: Final = 80

_KINDS: Final[Mapping[str, str]] = {
    "missing": "a value",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "path_type": "a path",
    "literal_error": "{expected}",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "{min_length} or more elements",
    "too_long": "at most {max_length} elements",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
}
_PLACE_IN_JSON = re.compile(r" at line \d+ column (\d+)$")


def fault_of(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Describe the first fault.

    Args:
        error: What pydantic found in a record.
        model: The model, if unknown fields were refused.

    Returns:
        Field, what was expected and what came, in one line.
    """
    details = error.errors(include_url=False)[0]
    where = ".".join(map(str, details["loc"]))
    return f"{where}: {told(details, model)}" if where else told(details, model)


def faults(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """Describe what does not fit a model.

    Args:
        error: Of its validation.
        model: The model, if unknown fields were refused.

    Returns:
        One text per fault, each beginning with the place.
    """
    found = error.errors(include_url=False)
    return [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {told(fault, model)}" for fault in found]


def told(details: ErrorDetails, model: type[BaseModel] | None = None, *, shows_value: bool = True) -> str:
    """Describe one fault.

    Args:
        details: One of pydantic's faults.
        model: The model, if unknown fields were refused.
        shows_value: Whether the message may contain the value; not if it may be a secret.

    Returns:
        What was expected, and what came.
    """
    kind = details["type"]
    if kind == "extra_forbidden" and model is not None:
        return unknown_field(details["loc"], model)
    if kind == "json_invalid":
        cause = _PLACE_IN_JSON.sub(r" at column \1", str(details.get("ctx", {}).get("error", "no JSON")))
        return f"expected one JSON object in UTF-8, got malformed JSON: {cause}"
    if kind not in _KINDS:
        # Faults of our own say what was expected, and some say what came.
        text = details["msg"].removeprefix("Value error, ")
        text = text[:1].lower() + text[1:]
        is_whole = kind != "value_error" or "got " in text or not shows_value
        return text if is_whole else f"{text}, got {shown(details['input'])}"
    bounds = {name: _plain(bound) for name, bound in details.get("ctx", {}).items()}
    expected = f"expected {_KINDS[kind].format_map(bounds)}"
    if kind == "missing":
        return f"{expected}, got none"
    return f"{expected}, got {shown(details['input'])}" if shows_value else expected


def shown(value: Any) -> str:
    """Write a value as JSON for a message, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False, skipkeys=True, default=str)
    except ValueError:  # Python does not write numbers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound
