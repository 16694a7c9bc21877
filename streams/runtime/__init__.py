"""What several lanes share while a worker runs: clock, log, metrics, health, progress, pacing."""
