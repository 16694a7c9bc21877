"""Faults of the client libraries: records that they cannot read are isolated, an error that they overlook is raised."""
