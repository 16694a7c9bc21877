"""How a worker logs: set-up, settings, and what is filtered."""
