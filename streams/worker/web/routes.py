"""HTTP routes of the worker: `/livez`, `/readyz`, `/metrics`, `/v1/users/{user_id}/state`, `/v1/state?user_id=…`.

The last two return the same: clients that normalise paths would change an id with `..` or empty segments.
All responses come from memory in microseconds: they are served on the event loop that the lanes use.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.convertors import Convertor, register_url_convertor

from sidestream.streams.runtime.health import Health
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.worker.web.addresses import STATE_BY_QUERY_PATH, STATE_PATH, id_fault


class _AnyText(Convertor[str]):
    """A path segment of any characters: the framework's own convertor stops at a line feed."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _AnyText())


class UserStates(Protocol):
    """The user states of this worker."""

    def partition_of(self, user_id: str) -> int:
        """Return the partition of a listener."""
        ...

    def owns(self, partition: int) -> bool:
        """Whether this worker owns the partition and has restored it."""
        ...

    def describe(self, user_id: str, whole_history: bool = False) -> Mapping[str, Any] | None:
        """Return a listener's state in readable form, with recent or all listens; `None` for an unknown listener."""
        ...


def create_web(
    health: Health, metrics: Metrics, states: UserStates | None, about: Callable[[], Mapping[str, Any]]
) -> FastAPI:
    """Build the web application.

    Args:
        health: Answers `/livez` and `/readyz`.
        metrics: Answers `/metrics`.
        states: Answers `/v1/users/{user_id}/state`; None if the worker has no states.
        about: Returns versions, role and standbys, shown with the readiness.

    Returns:
        The application, not started.
    """
    web = FastAPI(title="Sidestream worker", docs_url=None, redoc_url=None)

    @web.get("/livez")
    async def livez() -> JSONResponse:
        """Return whether the worker should be left running."""
        reasons = health.not_alive()
        return JSONResponse({"alive": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    @web.get("/readyz")
    async def readyz() -> JSONResponse:
        """Return whether the worker answers session-starts, and the reasons if not."""
        reasons = health.not_ready()
        body = {"ready": not reasons, "reasons": reasons, **about()}
        return JSONResponse(body, status_code=503 if reasons else 200)

    @web.get("/metrics")
    async def figures() -> Response:
        """Return all metrics in the Prometheus text format."""
        health.not_ready()
        return Response(metrics.expose(), media_type=CONTENT_TYPE_LATEST)

    @web.get(STATE_PATH)
    async def user_state(request: Request, user_id: str, history: Literal["recent", "all"] = "recent") -> JSONResponse:
        """Return one listener's state, with the recent listens or with all stored ones."""
        return _state_answer(states, user_id, request.scope.get("raw_path"), history == "all")

    @web.get(STATE_BY_QUERY_PATH)
    async def state_by_query(
        request: Request, user_id: str = "", history: Literal["recent", "all"] = "recent"
    ) -> JSONResponse:
        """Return the same, for an id that a path would not preserve."""
        return _state_answer(states, user_id, request.scope.get("query_string"), history == "all")

    return web


def _state_answer(states: UserStates | None, user_id: str, address: bytes | None, whole_history: bool) -> JSONResponse:
    fault = id_fault(user_id)
    try:
        # The framework replaces invalid UTF-8, and would look up another user.
        unquote_to_bytes(address or b"").decode()
    except UnicodeDecodeError:
        fault = "expected UTF-8, percent-encoded"
    if fault:
        return JSONResponse({"error": f"user id: {fault}"}, 400)
    if states is None:
        return JSONResponse({"error": "this worker has no user states; ask one with role all or recommend"}, 404)
    partition = states.partition_of(user_id)
    if not states.owns(partition):
        message = f"partition {partition} of user {user_id!r} is not owned by this worker; ask its owner"
        return JSONResponse({"error": message, "partition": partition}, 421)
    described = states.describe(user_id, whole_history)
    if described is None:
        return JSONResponse({"error": f"no listens of user {user_id!r}", "partition": partition}, 404)
    return JSONResponse({"user_id": user_id, "partition": partition, **described})
