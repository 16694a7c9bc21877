"""Faults of pydantic in our words: what was expected, and what came."""

import json

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from sidestream.models.records.faults import MAX_SHOWN_CHARS, fault_of, faults, told


class Part(BaseModel):
    number: int = Field(ge=1)


class Thing(BaseModel):
    text: str = Field(default="x", min_length=1, max_length=3)
    number: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0, lt=1, allow_inf_nan=False)
    flag: bool = True
    parts: tuple[Part, ...] = Field(default=(), max_length=2)
    named: dict[str, int] | None = None
    password: SecretStr | None = None
    checked: str = "ok"

    @field_validator("checked")
    @classmethod
    def _check(cls, value: str) -> str:
        if value != "ok":
            msg = "Expected ok"
            raise ValueError(msg)
        return value


CASES = [
    ({"text": ""}, 'text: expected text of 1 or more characters, got ""'),
    ({"text": "long"}, 'text: expected text of at most 3 characters, got "long"'),
    ({"text": None}, "text: expected text, got null"),
    ({"number": 0}, "number: expected 1 or more, got 0"),
    ({"number": 10}, "number: expected 9 or less, got 10"),
    ({"number": "x"}, 'number: expected a whole number, got "x"'),
    ({"number": 1.5}, "number: expected a whole number, got 1.5"),
    ({"share": 0}, "share: expected a number above 0, got 0"),
    ({"share": 1}, "share: expected a number below 1, got 1"),
    ({"share": float("nan")}, "share: expected a finite number, got NaN"),
    ({"flag": "perhaps"}, 'flag: expected true or false, got "perhaps"'),
    ({"parts": 5}, "parts: expected a list, got 5"),
    ({"parts": [{"number": 1}] * 3}, "parts: expected at most 2 elements, got " + json.dumps([{"number": 1}] * 3)),
    ({"parts": [{"number": 1}, {}]}, "parts.1.number: expected a value, got none"),
    ({"named": []}, "named: expected an object, got []"),
    ({"checked": "no"}, 'checked: expected ok, got "no"'),
]


@pytest.mark.parametrize(("fields", "words"), CASES)
def test_a_fault_says_what_was_expected_and_what_came(fields, words):
    with pytest.raises(ValidationError) as caught:
        Thing(**fields)
    assert fault_of(caught.value).startswith(words)


def test_json_that_is_malformed_says_where():
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate_json('{"text": }')
    assert fault_of(caught.value) == (
        "expected one JSON object in UTF-8, got malformed JSON: expected value at column 10"
    )


def test_several_faults_are_one_line_and_long_values_are_shortened():
    with pytest.raises(ValidationError) as caught:
        Thing(text="y" * 500, number=0)
    first, second = faults(caught.value)
    assert first == "text: expected text of at most 3 characters, got " + '"' + "y" * (MAX_SHOWN_CHARS - 2) + "…"
    assert second == "number: expected 1 or more, got 0"


def test_a_value_that_may_be_secret_is_not_shown():
    with pytest.raises(ValidationError) as caught:
        Thing(password=5, checked="hush")
    for details in caught.value.errors():
        assert "hush" not in told(details, shows_value=False)
        assert "5" not in told(details, shows_value=False)
