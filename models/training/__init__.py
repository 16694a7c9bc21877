"""Training of tokenizer and generator from a log folder (needs torch)."""
