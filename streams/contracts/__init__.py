"""The contracts on the wire: topics and their policies, decoding of values, dead letters."""
