"""Unknown fields in what a person typed: what was probably meant.

Topic values may hold unknown fields, which are ignored. What a person types is validated with `extra="forbid"`.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel

# `titel` is title, and `user` is user_id; `mood` is nothing.
_LEAST_ALIKE = 0.7


def unknown_field(place: Sequence[int | str], model: type[BaseModel]) -> str:
    """Describe an unknown field.

    Args:
        place: Where it is in a value of the model.
        model: The model.

    Returns:
        The field that was probably meant, else all that there are.
    """
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
