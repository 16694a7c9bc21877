"""Commands about tokenizer versions: fit, compare, report, roll out and back."""
