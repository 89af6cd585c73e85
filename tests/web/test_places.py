"""A model of places with groups and sounds, asked over HTTP and as live sound."""

import json
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from avgan.runtime import load
from sounds import encoded

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def served(start, toy_places: Path):
    return start("--workers", "1", model=toy_places)


def test_the_answer_holds_group_sounds_and_shares(served, toy_places: Path, walk_samples: np.ndarray) -> None:
    content = encoded(walk_samples)
    found = served.client().post("/api/classify?hop=1", content=content).json()
    expected = load(toy_places).classify(content, hop_s=1.0)
    assert (found["scene"], found["group"]) == (expected.scene, "outdoor")
    assert found["within"] == list(expected.within) == ["road", "beach"]
    assert found["has_words"]
    assert set(found["sounds"]) == {"traffic", "dog"}
    assert found["shares"] == pytest.approx(dict(expected.shares), abs=1e-6)
    assert [(part["scene"], part["within"], list(part["sounds"])) for part in found["segments"]] == [
        ("road", [], ["traffic"]),
        ("outdoor", ["road"], []),
        ("beach", [], ["dog"]),
    ]
    assert any("several scenes" in warning for warning in found["warnings"])


def test_live_windows_hold_group_and_sounds(served, walk_samples: np.ndarray) -> None:
    samples = (walk_samples * 32767).astype("<i2").tobytes()
    with connect(f"ws://127.0.0.1:{served.port}/api/live?rate={RATE_HZ}", proxy=None) as connection:
        for at in range(0, len(samples), 3_200):
            connection.send(samples[at : at + 3_200])
        connection.send("end")
        found = []
        while "end" not in (message := json.loads(connection.recv(timeout=30))):
            found.append(message)
    assert found[-1]["group"] == "outdoor"
    assert list(found[-1]["sounds"]) == ["dog"]
    assert np.isclose(found[-1]["sounds"]["dog"], 1, atol=0.01)
