"""Live items: their states, kept with the catalogue agent, and their listeners, counted with the listen lane."""
