"""Detects whether a worker makes progress, and terminates it if it does not."""
