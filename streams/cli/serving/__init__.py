"""Commands that run, describe and set up the system: worker, demo, broker, topics, settings."""
