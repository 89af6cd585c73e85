"""The toy model, on one thread, and a recording's windows with its prediction."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avgan.archive.engines import Classification
from avgan.runtime import Model, Prediction, WindowPrediction, load

Taken = Callable[[Classification], tuple[list[WindowPrediction], Prediction]]


@pytest.fixture(scope="session")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle, num_threads=1)


@pytest.fixture(scope="session")
def taken() -> Taken:
    """A function that gives all windows of a recording, and its prediction."""

    def take(classification: Classification) -> tuple[list[WindowPrediction], Prediction]:
        windows, coming = [], iter(classification)
        while True:
            try:
                windows.append(next(coming))
            except StopIteration as end:
                return windows, end.value

    return take
