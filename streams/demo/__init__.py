"""The demo: broker, worker, a replayed world or real listens, and what a person should see of it."""
