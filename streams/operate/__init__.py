"""Operator jobs on an installation: states, dead letters, catalogue dumps, rollouts."""
