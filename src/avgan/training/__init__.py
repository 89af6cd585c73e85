"""Training: one loop, three stages, one file that knows ranks."""
