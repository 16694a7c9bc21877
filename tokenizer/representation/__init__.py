"""Representation vectors of items, from their content and their co-occurrence in listening sequences."""
