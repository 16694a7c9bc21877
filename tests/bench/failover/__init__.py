"""What users notice of a worker that is gone: killed with and without standbys, and restarted in its turn."""
