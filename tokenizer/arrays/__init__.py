"""Array operations with bit-identical results on every machine and for every batch size."""
