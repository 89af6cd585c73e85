"""The command line: one thin verb per job. What is heavy is imported inside the verb that needs it."""

from avgan.cli import compare, curate, live, models, recordings, runs, service
from avgan.cli.app import main

__all__ = ["compare", "curate", "live", "main", "models", "recordings", "runs", "service"]
