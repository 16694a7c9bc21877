"""Base class of all topic values: decoding from and encoding to JSON, and what absence means.

Null in a field that has a default means the default, the same for all readers of records: some producers leave a field
out, some write null, because their serializer writes all fields of a class. Readers decode first, and drop the nulls of
what was refused: other records cost nothing.
"""

import json
from collections.abc import Callable, Collection
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sidestream.models.records.times import LATEST_AT

MAX_ID_CHARS = 256

DecodedT = TypeVar("DecodedT")

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
# Times that we write ourselves; what others send is judged by `sidestream.models.records.times`.
AtMs = Annotated[int, Field(ge=0, le=LATEST_AT, description="Epoch milliseconds UTC.")]


class Record(BaseModel):
    """A topic value: immutable, tolerant of unknown fields, written without nulls."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")

    schema_version: int = Field(default=1, ge=1, description="Raised only by additive changes inside a topic version.")

    @classmethod
    def from_json(cls, value: bytes | str, *, strict: bool | None = None) -> Self:
        """Decode one value, in which null in a field that has a default means the default.

        Args:
            value: JSON text, UTF-8.
            strict: Whether numbers written as text, and the like, are refused.

        Returns:
            The record.

        Raises:
            pydantic.ValidationError: The text is not JSON or does not fit the model.
        """
        raw = value.encode(errors="surrogatepass") if isinstance(value, str) else value
        required = [name for name, field in cls.model_fields.items() if field.is_required()]
        return decode_or_without_nulls(
            lambda text: cls.model_validate_json(text, strict=strict), raw, ValidationError, required
        )

    def to_json(self) -> bytes:
        """Encode the value as compact UTF-8 JSON without null fields."""
        return self.model_dump_json(exclude_none=True).encode()


def decode_or_without_nulls(
    decode: Callable[[bytes], DecodedT],
    value: bytes,
    refused: type[Exception] | tuple[type[Exception], ...],
    required: Collection[str] = (),
) -> DecodedT:
    """Decode a record; if it is refused, decode it again without its fields that are null.

    Args:
        decode: The decoder.
        value: JSON text.
        refused: What the decoder raises for a record that it does not take; the second refusal is raised.
        required: Fields without a default, whose null is kept.

    Returns:
        What the decoder returns.
    """
    try:
        return decode(value)
    except refused:
        filled = without_nulls(value, required)
        if filled is None:
            raise
        return decode(filled)


def without_nulls(value: bytes, required: Collection[str] = ()) -> bytes | None:
    """Drop the fields of a JSON object that are null.

    Args:
        value: JSON text.
        required: Fields whose null is kept.

    Returns:
        The object without them; None if there are none, or if it is no JSON object.
    """
    if b"null" not in value:
        return None
    try:
        fields = json.loads(value.decode())  # as text: of bytes, UTF-16 and a BOM would be taken
        if not isinstance(fields, dict):
            return None
        kept = {name: content for name, content in fields.items() if content is not None or name in required}
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode() if len(kept) < len(fields) else None
    except (ValueError, RecursionError):
        return None
