"""Mends what aiokafka 0.14 gets wrong for all consumers of a process: `mend_aiokafka`."""

from sidestream.streams.kafka.records import aiokafka_records, offset_fetch, offset_search


def mend_aiokafka() -> None:
    """Install our replacements; to be called before a consumer is started, any number of times."""
    aiokafka_records.install()
    offset_fetch.install()
    offset_search.install()
