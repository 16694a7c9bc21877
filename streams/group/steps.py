"""Coroutines whose first step was run by hand, without a task."""

import types
from collections.abc import Coroutine, Generator
from typing import Any


async def resumed(coro: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    """Continue a coroutine that has run its first step.

    Args:
        coro: The coroutine.
        waits_for: What its first step yielded.

    Returns:
        What the coroutine returns.
    """
    return await _further_steps(coro, waits_for)


@types.coroutine
def _further_steps(coro: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as exc:  # noqa: BLE001 - the coroutine must also handle cancellation
                waits_for = coro.throw(exc)
            else:
                waits_for = coro.send(sent)
    except StopIteration as done:
        return done.value
