"""Imagined pictures, scored with their controls."""
