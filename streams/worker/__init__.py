"""The worker process: what it loads, in which order its parts start, how it runs and how it ends."""
