"""Steps from an assignment to its first batch: source check, table restore, start positions."""
