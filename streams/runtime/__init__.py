"""Runtime services shared by the lanes of a worker: clock, log, metrics, health, progress, pacing."""
