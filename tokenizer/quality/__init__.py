"""Quality of a tokenizer: use of codes, cold start, and nearest neighbours."""
