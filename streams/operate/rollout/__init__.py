"""The operator's side of generations: publishes orders and follows the workers' reports."""
