"""Producers that are not ours, on the topic of listens: what they send, and what must become of every record."""
