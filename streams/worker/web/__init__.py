"""The worker's web server: health, readiness, metrics and user states, on the worker's own event loop."""
