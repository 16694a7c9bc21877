"""Compares what workers left behind with what the log makes of it."""
