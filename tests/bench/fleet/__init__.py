"""Whole workers for benchmarks: an installation of topics, workers as processes over it, and states made up in bulk."""
