"""How batches become durable: transactions, or an idempotent producer."""
