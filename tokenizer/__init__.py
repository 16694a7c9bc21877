"""Tokenizer package: content encoders, item representation, residual quantization, and the catalogue of SIDs."""
