"""Whether this worker is a member of its consumer group with an assignment in force."""

from typing import Any

import faust


class Group:
    """Listens to Faust's signals.

    Args:
        app: The app.
    """

    def __init__(self, app: faust.App) -> None:
        self._state = "not joined"
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    def not_ready(self) -> list[str]:
        """Say so while there is no assignment."""
        return [] if self._state == "joined" else [f"kafka: {self._state}"]

    async def _on_assigned(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._state = "joined"

    async def _on_revoked(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self._state = "rebalancing"
