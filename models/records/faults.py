"""Faults of a topic value in words for a person who wrote it: where, and for an unknown field what was probably meant.

Topic values may hold unknown fields, which are ignored. What a person types is validated with `extra="forbid"`.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# `titel` is title, and `user` is user_id; `mood` is nothing.
_LEAST_ALIKE = 0.7


def faults(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Describe what does not fit a model.

    Args:
        error: Of its validation.
        model: The model.

    Returns:
        One text per fault, each beginning with the place.
    """
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'value'}: {_told(fault['type'], fault['msg'], fault['loc'], model)}"
        for fault in error.errors(include_url=False)
    ]


def _told(kind: str, message: str, place: Sequence[int | str], model: type[BaseModel]) -> str:
    if kind != "extra_forbidden":
        return message
    known = _model_at(model, place[:-1]).model_fields
    near = _nearest(str(place[-1]), known)
    return "unknown field" + (f", did you mean {near}?" if near else f"; there are {', '.join(known)}")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=_LEAST_ALIKE)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _model_at(model: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    for name in place:
        if isinstance(name, str):
            model = _model_in(model.model_fields[name].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
