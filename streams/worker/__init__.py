"""The worker put together: what it loads, in which order its parts start, how it runs and ends."""
