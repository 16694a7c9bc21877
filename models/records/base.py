"""Base class of all topic values: decoding from and encoding to JSON."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sidestream.models.records.times import LATEST_AT

MAX_ID_CHARS = 256

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
# Times that we write ourselves; what others send is judged by `sidestream.models.records.times`.
AtMs = Annotated[int, Field(ge=0, le=LATEST_AT, description="Epoch milliseconds UTC.")]


class Record(BaseModel):
    """A topic value: immutable, tolerant of unknown fields, written without nulls."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")

    schema_version: int = Field(default=1, ge=1, description="Raised only by additive changes inside a topic version.")

    @classmethod
    def from_json(cls, value: bytes | str) -> Self:
        """Decode one value.

        Args:
            value: JSON text, UTF-8.

        Returns:
            The record.

        Raises:
            pydantic.ValidationError: The text is not JSON or does not fit the model.
        """
        return cls.model_validate_json(value)

    def to_json(self) -> bytes:
        """Encode the value as compact UTF-8 JSON without null fields."""
        return self.model_dump_json(exclude_none=True).encode()
