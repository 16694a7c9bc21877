"""Faust agents: thin edges around pure calls."""
