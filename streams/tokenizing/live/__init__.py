"""Live items at the edge: their states beside the catalogue agent, and who listens to them beside the listen lane."""
