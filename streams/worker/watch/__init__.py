"""Whether a worker makes progress, and what ends it where it does not."""
