"""Rows of a long sheet, kept line by line as they are made, so that an interrupted run goes on where it was."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class KeptRows:
    """A file with one row a line; without a file nothing is kept.

    It knows nothing of the code that made a row: after a change of that, another file is due.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.rows = path, dict[str, Any]()
        if path is not None and path.exists():
            # A line that was cut off by a kill has no end.
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            self.rows = {json.dumps(line["of"]): line["row"] for line in map(json.loads, whole)}
            path.write_text("".join(whole))

    def __call__(self, of: Sequence[Any], make: Callable[[], Any]) -> Any:
        """Give the row of these settings: the kept one, or make and keep it."""
        key = json.dumps([*of])
        if key not in self.rows:
            # By way of JSON, so that a resumed run sees the very same values.
            line = json.dumps({"of": [*of], "row": make()})
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(line + "\n")
            self.rows[key] = json.loads(line)["row"]
        return self.rows[key]
