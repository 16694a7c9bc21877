"""Faults of the client libraries: records that they cannot read, which are isolated, and an error that they overlook."""
