"""Sound that is heard while it is made."""
