"""Codebook generations: how workers go from one tokenizer version and model to another without a stopped second."""
