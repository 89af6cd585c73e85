"""A bundle run outside Python: onnxruntime-web in a headless browser, which also decodes, gives the same answers."""

import http.server
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from avgan.audio import read_audio
from avgan.demo import write_recordings
from avgan.runtime import Model, installed, load

pytestmark = pytest.mark.slow

VERSION = "1.30.0"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "browser.html"

STATUS = "document.querySelector('[role=status]').textContent"

SAME_SAMPLES = 1e-4
"""Largest difference of a probability where both sides hear the same samples: other kernels, other order of sums."""
OWN_RESAMPLING = 0.05
"""The same, in the median over recordings, where the browser brings 44.1 kHz to 16 kHz by its own method."""

EVERY = 5
"""Each so manieth recording of a fold is heard; 1 takes two minutes on a quiet machine."""
MIN_AGREEMENT = 0.9


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example page with the installed bundle and onnxruntime-web from the npm registry beside it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("site")
    name = f"onnxruntime-web@{VERSION}"
    packed = subprocess.run([npm, "pack", "--silent", name], cwd=folder, capture_output=True, text=True, check=False)
    if packed.returncode:
        pytest.skip(f"{name} cannot be had: {packed.stderr.strip()[-200:]}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package" / "dist").rename(folder / "ort")
    shutil.copytree(installed()[0].path, folder / "bundle")
    shutil.copy(EXAMPLE, folder)
    return folder


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    """The example, open in a browser; whatever it asks other hosts for makes the test fail."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    handler = partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_api.sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{server.server_port}/{EXAMPLE.name}")
        page.wait_for_function(f"{STATUS} == 'Ready.'", timeout=120_000)
        yield page
        browser.close()
        server.shutdown()
    assert not [url for url in asked if "127.0.0.1" not in url and not url.startswith("blob:")]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


def ask(page: Any, path: Path) -> dict[str, Any]:
    """What the browser answers for a recording."""
    page.set_input_files("input", str(path))
    script = """classify(document.querySelector('input').files[0])
        .then((answer) => ({...answer, picture: [...answer.picture]}))"""
    found: dict[str, Any] = page.evaluate(script)
    return found


def largest_difference(model: Model, found: dict[str, Any], expected: dict[str, float]) -> float:
    told = dict(zip(model.card.labels, found["labels"], strict=True))
    return max(abs(told[label] - value) for label, value in expected.items())


def test_the_same_samples_give_the_same_answer(page: Any, model: Model, tmp_path: Path) -> None:
    for path in write_recordings(tmp_path):
        plain = tmp_path / f"plain-{path.name}"
        soundfile.write(plain, read_audio(path), 16_000, subtype="FLOAT")
        expected = model.classify(plain)
        found = ask(page, plain)
        assert found["sound"] == next(iter(expected.sounds)), path
        assert found["scene"] == next(iter(expected.scenes)), path
        assert largest_difference(model, found, expected.sounds) < SAME_SAMPLES
        drawn = np.array(found["picture"], np.float32).reshape(3, 128, 128).transpose(1, 2, 0)
        # A feature half-way between two codes may fall either way; then a part of the picture differs.
        assert np.abs(drawn - expected.picture / 255).mean() < 0.01


@pytest.mark.parametrize(("rate_hz", "tolerance"), [(16_000, SAME_SAMPLES), (44_100, OWN_RESAMPLING)])
def test_real_recordings_that_the_browser_decodes(
    page: Any, model: Model, data_root: Path, tmp_path: Path, rate_hz: int, tolerance: float
) -> None:
    """A fold of ESC-50, as its files are here, and at another rate."""
    differences, agree = [], 0
    paths = sorted((data_root / "esc50" / "audio").glob("5-*"))[::EVERY]
    for path in paths:
        samples, own_rate_hz = soundfile.read(path)
        if own_rate_hz != rate_hz:
            path = tmp_path / f"{path.stem}.wav"
            soundfile.write(path, soxr.resample(samples, own_rate_hz, rate_hz), rate_hz)
        expected = model.classify(path)
        found = ask(page, path)
        agree += found["sound"] == next(iter(expected.sounds))
        differences.append(largest_difference(model, found, expected.sounds))
    median, largest = np.median(differences), max(differences)
    print(f"{agree} of {len(paths)} agree; differences {median:.1e}, at most {largest:.1e}")
    assert len(paths) >= 400 // EVERY
    assert agree >= MIN_AGREEMENT * len(paths)
    assert median < tolerance


def test_what_is_no_sound_is_said_to_be_none(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("bread, milk, eggs")
    page.set_input_files("input", str(path))
    page.wait_for_function(f"{STATUS}.startsWith('This recording cannot be heard')")
