"""Methods of others and our own on the same folds, in one table."""
