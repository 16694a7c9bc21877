"""Benchmarks on a real Kafka: `python -m tests.bench.NAME`, each with its peers beside it in the same run."""
