"""Evaluation: metrics, protocols and their reports. Only this package opens a test split."""
