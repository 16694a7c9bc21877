"""Logging of a worker: setup, settings and filters."""
