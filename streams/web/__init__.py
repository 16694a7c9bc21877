"""The worker's web server: health, readiness, metrics and user states, on the worker's own event loop."""

from streams.web.routes import UserStates, create_web
from streams.web.server import WebServer
from streams.web.settings import WebSettings

__all__ = ["UserStates", "WebServer", "WebSettings", "create_web"]
