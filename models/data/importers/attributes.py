"""Optional files next to an S3-Rec sequence file: attributes of items, and names of items and attributes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidestream.models.data.importers.lines import open_source
from sidestream.models.errors import DataError

# An Amazon product number: an id, not text, so it must not reach a text encoder.
PRODUCT_NUMBER = re.compile(r"[0-9A-Z]{10}")


# As in the sequence file; the files next to it have only numbers.
ItemName = int | str


@dataclass(frozen=True, slots=True)
class ItemWords:
    """Names and attributes of items."""

    names: Mapping[ItemName, str]
    attributes: Mapping[ItemName, tuple[str, ...]]
    names_are_ids: bool
    notes: tuple[str, ...]

    def item_id(self, item: ItemName) -> str:
        """Return the id under which an item is published."""
        return self.names.get(item, f"item-{item}") if self.names_are_ids else f"item-{item}"

    def title(self, item: ItemName) -> str:
        """Return the item's name if it is text, else an empty string."""
        return "" if self.names_are_ids else self.names.get(item, "")

    def tags(self, item: ItemName) -> tuple[str, ...]:
        """Return the item's attributes, each once."""
        return self.attributes.get(item, ())


def read_item_words(sequences: Path) -> ItemWords:
    """Read the files next to a sequence file.

    Args:
        sequences: `NAME.txt`.

    Returns:
        Names and attributes; empty if the files do not exist.

    Raises:
        DataError: A file exists but is not JSON of the expected form.
    """
    names_path = sequences.with_name(f"{sequences.stem}_item_names.json")
    attributes_path = sequences.with_name(f"{sequences.stem}_item2attributes.json")
    notes: list[str] = []
    names: dict[ItemName, str] = {}
    attribute_names: dict[int, str] = {}
    if names_path.is_file():
        tables = _read_object(names_path)
        names.update(_texts(names_path, "id2item", tables.get("id2item", {})).items())
        attribute_names = _texts(names_path, "id2attribute", tables.get("id2attribute", {}))
    attributes: dict[ItemName, tuple[str, ...]] = {}
    if attributes_path.is_file():
        attributes.update(_read_attributes(attributes_path, attribute_names).items())
    if attributes:
        notes.append(f"Attributes from {attributes_path.name}: they may postdate held-out events.")
    if not names and not attributes:
        notes.append("No names or attributes next to the file: items have no text.")
    names_are_ids = bool(names) and all(PRODUCT_NUMBER.fullmatch(name) for name in names.values())
    if names_are_ids and len(set(names.values())) < len(names):
        msg = f"{names_path}: expected each product number once, got repeats; restore the published file"
        raise DataError(msg)
    if names_are_ids:
        notes.append(f"The names in {names_path.name} are product numbers: used as item ids, not as titles.")
    return ItemWords(names, attributes, names_are_ids, tuple(notes))


def _read_attributes(path: Path, names: Mapping[int, str]) -> dict[int, tuple[str, ...]]:
    attributes: dict[int, tuple[str, ...]] = {}
    for key, value in _read_object(path).items():
        if not isinstance(value, list) or not all(type(entry) is int for entry in value):
            raise _form_error(path, f"a list of attribute numbers for item {key!r}", value)
        # Some files repeat an attribute for every event: each counts once.
        attributes[_number(path, key)] = tuple(names.get(entry, f"attribute {entry}") for entry in dict.fromkeys(value))
    return attributes


def _texts(path: Path, table: str, value: object) -> dict[int, str]:
    if not isinstance(value, dict):
        raise _form_error(path, f"an object under {table!r}", value)
    for key, text in value.items():
        if not isinstance(text, str):
            raise _form_error(path, f"text for {key!r} in {table!r}", text)
    return {_number(path, key): text for key, text in value.items()}


def _number(path: Path, key: str) -> int:
    if not (key.isascii() and key.isdigit()):
        raise _form_error(path, "a number as key", key)
    return int(key)


def _read_object(path: Path) -> dict[str, object]:
    try:
        with open_source(path) as stream:
            value = json.loads(stream.read())
    except json.JSONDecodeError as error:
        msg = f"{path}:{error.lineno}: expected JSON, got {error.msg} at column {error.colno}; restore the file"
        raise DataError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: expected a readable JSON file, got {error}; restore the published file"
        raise DataError(msg) from error
    if not isinstance(value, dict):
        raise _form_error(path, "a JSON object", value)
    return value


def _form_error(path: Path, expected: str, got: object) -> DataError:
    return DataError(f"{path}: expected {expected}, got {str(got)[:80]!r}; restore the published file")
