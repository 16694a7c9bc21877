"""How good a tokenizer is: use of codes, items without listens, and true neighbours."""
