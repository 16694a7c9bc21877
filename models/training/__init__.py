"""Training of the generator: listens and SIDs in, an artifact with its evaluation out (needs torch)."""
