"""When not to answer, and why."""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgan.audio import Level
from avgan.errors import BundleError, ConfigError
from avgan.runtime import load
from avgan.runtime.bundle import Calibration, installed
from avgan.runtime.embedding import EmbeddedWindow
from avgan.runtime.model import Model
from avgan.runtime.prediction import UNKNOWN
from avgan.runtime.unknown import CLIPPED, KNOWN_FILE, SHORT, SILENT, STEADY, STRANGE, UNSURE, Known, Rejection

RATE_HZ = 16_000
ERROR = {"value": 0.03, "interval_95": [0.02, 0.05], "num_bins": 10}


@pytest.fixture(scope="module")
def shipped() -> Model:
    return load(installed()[0].path)


@pytest.fixture
def calibrated(toy_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that gives the toy with a calibration, and with a file of what it knows."""

    def make(content: bytes | None = None, **fields: Any) -> Path:
        folder = shutil.copytree(toy_bundle, tmp_path / "calibrated")
        card = json.loads((folder / "card.json").read_text())
        card["calibration"] = {
            "num_clips": 100,
            "num_sources": 50,
            "temperature": 1.0,
            "likelihood": [0.5, 0.4],
            "error_before": ERROR,
            "error_after": ERROR,
            **fields,
        }
        if content is not None:
            (folder / KNOWN_FILE).write_bytes(content)
            card["sha256"][KNOWN_FILE] = hashlib.sha256(content).hexdigest()
        (folder / "card.json").write_text(json.dumps(card))
        return folder

    return make


def events(rng: np.random.Generator, length_s: float = 5.0) -> np.ndarray:
    """Noise that comes and goes, at a moderate level."""
    times_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    loudness = 0.02 + 0.1 * np.sin(2 * np.pi * 0.3 * times_s) ** 2
    return (loudness * rng.standard_normal(len(times_s))).astype(np.float32)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (np.zeros_like, SILENT),
        (lambda waveform: waveform[:400], SHORT),
        (lambda waveform: (300 * waveform).clip(-1, 1), CLIPPED),
    ],
)
def test_the_shipped_model_refuses_what_is_no_recording(
    shipped: Model, rng: np.random.Generator, spoil: Callable[..., np.ndarray], reason: str
) -> None:
    prediction = shipped.classify(spoil(events(rng)), RATE_HZ)
    assert (prediction.scene, prediction.sound, prediction.reason) == (UNKNOWN, None, reason)
    assert prediction.warnings
    assert sum(prediction.sounds.values()) == pytest.approx(1, abs=1e-4)


def test_light_clipping_is_a_warning_only(toy_bundle: Path, rng: np.random.Generator) -> None:
    waveform = events(rng)[:RATE_HZ].repeat(5)  # of low pitch: clipping makes plateaus
    loud = (waveform / np.quantile(np.abs(waveform), 0.98)).clip(-1, 1)
    prediction = load(toy_bundle).classify(loud, RATE_HZ)
    assert prediction.known
    assert any("clipped" in warning for warning in prediction.warnings)


@pytest.mark.parametrize("hop_s", [None, 0.5])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_only_the_clipped_part_of_a_recording_is_refused(
    toy_bundle: Path, rng: np.random.Generator, hop_s: float | None, rate_hz: int
) -> None:
    waveform = (0.1 * rng.standard_normal(12 * rate_hz)).astype(np.float32)
    waveform[4 * rate_hz : 8 * rate_hz] = (100 * waveform[4 * rate_hz : 8 * rate_hz]).clip(-1, 1)
    prediction = load(toy_bundle).classify(waveform, rate_hz, hop_s=hop_s)
    for window in prediction.windows:
        inside = window.start_s >= 4 and window.end_s <= 8
        outside = window.end_s <= 3 or window.start_s >= 9
        if inside or outside:
            assert window.reason == (CLIPPED if inside else "")


def test_clipping_is_found_when_it_happens_whatever_the_blocks(rng: np.random.Generator) -> None:
    samples = (0.1 * rng.standard_normal((6 * RATE_HZ, 2))).astype(np.float32)
    samples[2 * RATE_HZ : 4 * RATE_HZ, 0] = 1.0
    for size in (len(samples), 5_000):
        level = Level()
        for start in range(0, len(samples), size):
            level.add(samples[start : start + size], RATE_HZ)
        assert level.clipped_share(0, 2) == level.clipped_share(5, 6) == 0
        assert level.clipped_share(2, 4) == pytest.approx(0.5, abs=1e-3)
        assert level.clipped_share(0, 6) == pytest.approx(level.num_clipped / level.num_samples)
        assert level.clipped_share(9, 10) == 0


def test_without_a_calibration_there_are_only_rules(toy_bundle: Path, rng: np.random.Generator) -> None:
    model = load(toy_bundle)
    steady = (0.1 * rng.standard_normal(5 * RATE_HZ)).astype(np.float32)
    prediction = model.classify(steady, RATE_HZ)
    assert prediction.known
    with pytest.raises(BundleError, match="not calibrated"):
        prediction.likely()


def known_of(directions: np.ndarray) -> Known:
    """What knows these directions (R, C) and nothing beside them."""
    return Known(np.zeros(directions.shape[1]), directions)


def window(embedding: np.ndarray, *, change_db: float = 9.0) -> EmbeddedWindow:
    return EmbeddedWindow(0.0, 1.0, embedding.astype(np.float32), 0.5, change_db)


def test_each_fitted_reason_has_its_threshold(calibrated: Callable[..., Path]) -> None:
    directions = np.eye(4, 10)
    path = calibrated(known_of(directions).pack(), least_change_db=0.7, least_probability=0.4, largest_distance=0.2)
    rejection = Rejection(load(path).bundle)
    sure, unsure = np.array([0.9, 0.1, 0, 0]), np.array([0.3, 0.3, 0.2, 0.2])
    near, far = directions[1] * 7, np.ones(10)
    windows = [window(near), window(near, change_db=0.6), window(far), window(near), window(far, change_db=0.6)]
    chances = np.array([sure, sure, sure, unsure, unsure])
    expected = ["", STEADY, STRANGE, UNSURE, STEADY]
    assert rejection.reasons(windows, chances) == expected
    assert [rejection.reasons([one], each[None])[0] for one, each in zip(windows, chances, strict=True)] == expected


def test_a_steady_recording_is_refused_where_the_threshold_is_known(
    calibrated: Callable[..., Path], rng: np.random.Generator
) -> None:
    model = load(calibrated(least_change_db=0.9))
    steady = (0.1 * rng.standard_normal(5 * RATE_HZ)).astype(np.float32)
    for hop_s in (None, 0.5):
        assert model.classify(steady, RATE_HZ, hop_s=hop_s).reason in ("", STEADY)
    changing = np.concatenate((steady, events(rng)))
    assert "" in {each.reason for each in model.classify(changing, RATE_HZ).windows}


def test_what_is_known_comes_back_from_its_file(calibrated: Callable[..., Path], rng: np.random.Generator) -> None:
    known = Known(rng.random(12), np.linalg.qr(rng.random((12, 4)))[0].T)
    found = Known.of(load(calibrated(known.pack())).bundle)
    assert found is not None
    heard = rng.random((5, 14))
    np.testing.assert_allclose(found.distance(heard), known.distance(heard), rtol=1e-2)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK", None])
def test_a_damaged_file_is_refused(calibrated: Callable[..., Path], content: bytes | None) -> None:
    if content is None:
        content = known_of(np.full((2, 10), 0.7)).pack()  # what another version would have written
    with pytest.raises(BundleError, match=KNOWN_FILE):
        load(calibrated(content))


def test_a_file_that_would_run_code_is_refused(calibrated: Callable[..., Path]) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError, match="cannot be read"):
        load(calibrated(buffer.getvalue()))


def calibration(**fields: Any) -> Calibration:
    return Calibration(
        num_clips=1, num_sources=1, temperature=1, likelihood=(1, 1), error_before=ERROR, error_after=ERROR, **fields
    )


def test_likely_scenes_grow_with_the_coverage_and_hold_the_first() -> None:
    fitted = calibration(needed=tuple(np.linspace(0.99, 0.01, 99)))
    scenes = {"beach": 0.5, "road": 0.3, "church": 0.15, "library": 0.05}
    sets = [fitted.likely(scenes, coverage) for coverage in (0.01, 0.5, 0.7, 0.9, 0.99)]
    assert sets[0] == ("beach",)
    assert sets[-1] == tuple(scenes)
    for smaller, larger in pairwise(sets):
        assert larger[: len(smaller)] == smaller


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_no_set_covers_always_or_never(coverage: float) -> None:
    with pytest.raises(ConfigError, match="coverage"):
        calibration(needed=(0.1,) * 99).likely({"beach": 1.0}, coverage)
