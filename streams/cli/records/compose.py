"""Events that a person writes: completed, and refused where a worker would bury them."""

import json
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import ValidationError

from sidestream.models.data.texts import content_of
from sidestream.models.records import CatalogItem, Listen, LiveSegment, Record, SessionStart
from sidestream.models.records.faults import faults
from sidestream.streams.contracts.decode import Limits, decode_catalog_item, decode_listen, decode_session_start
from sidestream.streams.errors import BadRecord, SettingsError, TokenizerError
from sidestream.streams.settings import Settings
from sidestream.streams.tokenizing.live.reading import decode_segment

What = Literal["listen", "item", "session-start", "segment"]
_MODELS: dict[str, type[Record]] = {
    "listen": Listen,
    "item": CatalogItem,
    "session-start": SessionStart,
    "segment": LiveSegment,
}
_IDS = {"listen": "event_id", "session-start": "session_id"}


def parse_event(what: What, line: str, settings: Settings, *, ignore_unknown: bool = False) -> Record:
    """Read one event from JSON, with ids and time filled in where they are missing.

    The contract ignores unknown fields, which for a person who mistypes one would be silence.

    Args:
        what: Kind of event.
        line: JSON object.
        settings: What workers take.
        ignore_unknown: Leave out unknown fields instead of refusing them.

    Returns:
        The record.

    Raises:
        SettingsError: It is not JSON, does not fit, or a worker would not take it.
    """
    now_ms = time.time_ns() // 1_000_000
    try:
        fields = json.loads(line)
        if isinstance(fields, dict):
            fields = {name: content for name, content in fields.items() if content is not None}
            fields.setdefault("at", now_ms)
            if what in _IDS:
                fields.setdefault(_IDS[what], str(uuid.uuid4()))
        extra: Literal["ignore", "forbid"] = "ignore" if ignore_unknown else "forbid"
        record = _MODELS[what].model_validate_json(json.dumps(fields), extra=extra)
        _judge(record, now_ms, settings)
    except ValidationError as exc:
        has_unknown = any(error["type"] == "extra_forbidden" for error in exc.errors())
        way_out = "; --ignore-unknown leaves unknown fields out" if has_unknown else ""
        msg = f"{what}: {'; '.join(faults(exc, _MODELS[what]))}{way_out}; in {line.strip()[:200]}"
    except ValueError as exc:
        msg = f"{what}: expected a JSON object, got {line.strip()[:200]!r} ({exc})"
    except (BadRecord, TokenizerError) as exc:
        msg = f"{what}: workers would not take it: {exc}; got {line.strip()[:200]}"
    else:
        return record
    raise SettingsError(msg)


def _judge(record: Record, now_ms: int, settings: Settings) -> None:
    """Read it as a worker would, as if it had been published right now."""
    limits = Limits.from_settings(settings.topics)
    decode: Callable[..., object]
    if isinstance(record, Listen | SessionStart):
        key, decode = record.user_id, decode_listen if isinstance(record, Listen) else decode_session_start
    elif isinstance(record, LiveSegment):
        key, decode = record.item_id, partial(decode_segment, max_segment_s=settings.live.max_segment_s)
    elif isinstance(record, CatalogItem):
        key, decode = record.item_id, decode_catalog_item
        content_of(record)
    else:
        return
    decode(key.encode(), record.to_json(), now_ms, limits=limits)
