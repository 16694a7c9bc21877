"""Codebook generations: how workers move from one tokenizer version and model to another without interruption."""
