"""Commands that write and read the records of topics: events, dead letters, the whole catalogue."""
