"""Faust's share: membership, assignment, commits."""
