"""Durable publishing of folded batches: with transactions, or with an idempotent producer."""
