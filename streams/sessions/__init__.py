"""The session lane: session-starts in, candidate sets out, several in flight, committed by their longest prefix."""
