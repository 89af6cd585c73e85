"""Clips that were kept -> shards, manifest, card and page."""
