"""The `sidestream` command: one module per job, thin over the packages that do the work."""
