"""Training: one loop, four stages, one file that knows ranks."""
