"""What is measured, one process each: the lane, and what others would build for the same work, at its best settings."""
