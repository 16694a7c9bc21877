"""Stock Faust answering session-starts: a second agent that reads the table, and a constant for the model."""

from pathlib import Path
from typing import Any

import faust
import msgspec

from sidestream.streams.contracts.decode import decode_session_start
from tests.bench.peers.progress import note_progress
from tests.bench.peers.stock import States, raw_topic
from tests.bench.support.work import fold_one, read

# As many bytes as thirty candidates of the worker take.
_CANDIDATES = [
    {"item_id": f"item-{number}", "sid": "1-2-3", "rank": number, "score": 1.0, "log_prob": -1.0, "familiar": False}
    for number in range(30)
]


def add_sessions(app: faust.App, table: States, config: dict[str, Any]) -> None:
    """Add the agents that fold listens and answer session-starts, and note how far the first is."""
    done = 0
    encode = msgspec.json.Encoder().encode
    candidates = raw_topic(app, config["candidates"])

    @app.agent(raw_topic(app, config["source"]))
    async def listens(stream: Any) -> None:
        nonlocal done
        async for event in stream.events():
            listen = read(event.value)
            if listen is not None:
                table[event.key] = fold_one(table.get(event.key), event.message.offset, listen)
            done += 1

    @app.agent(raw_topic(app, config["session_starts"]))
    async def sessions(stream: Any) -> None:
        async for event in stream.events():
            start = decode_session_start(event.key, event.value, -1)
            state = table.get(event.key)
            answer = {"session_id": start.session_id, "state": len(state or b""), "candidates": _CANDIDATES}
            await candidates.send(key=event.key, value=encode(answer))

    note_progress(Path(config["progress"]), lambda: done)
