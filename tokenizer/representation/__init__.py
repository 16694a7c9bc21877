"""The representation vector of an item: its content, and what listeners say of it."""
