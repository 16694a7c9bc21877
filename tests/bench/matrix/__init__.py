"""The crash matrix: workers that are killed, paused and replaced at seeded points, and the judge of what they leave."""
