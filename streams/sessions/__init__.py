"""Session lane: answers session-starts with candidate sets, several in flight, committed by longest finished prefix."""
