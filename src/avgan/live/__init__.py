"""Sound that is classified while it is recorded."""
