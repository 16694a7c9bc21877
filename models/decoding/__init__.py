"""Constrained beam search from a hidden state to a list of items: one exported graph (torch), and its inputs."""
