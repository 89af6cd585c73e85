"""The command line: one thin verb per job. What is heavy is imported inside the verb that needs it."""

from avgan.cli import compare, curate, data, live, models, recordings, runs, service, why
from avgan.cli.app import main

__all__ = [
    "compare",
    "curate",
    "data",
    "live",
    "main",
    "models",
    "recordings",
    "runs",
    "service",
    "why",
]
