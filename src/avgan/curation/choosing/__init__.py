"""Which clips are kept, and in which split they stand."""
