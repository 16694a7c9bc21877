"""Faust integration: consumer group membership, partition assignment, offset commits."""
