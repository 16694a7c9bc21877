"""Records that the client libraries cannot read: they are isolated by their offset, and their partition goes on."""
