"""Clients that last as long as the worker: they wait for brokers that restart, and replace connections that broke."""
