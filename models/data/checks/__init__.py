"""Parts of the check of a log folder: rows, ids that repeat, held-out rows."""
