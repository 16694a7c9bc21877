"""Wire contracts: topics and their configuration, decoding of values, dead letters."""
