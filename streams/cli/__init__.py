"""The `sidestream` command: one module per command group, thin over the rooms that do the work."""
