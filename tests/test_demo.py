"""The synthetic recordings: sound, within bounds, different from each other, the same every time."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.audio import AudioStream, read_audio
from avgan.demo import DURATION_S, RECORDINGS, write_recordings


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_recordings(tmp_path_factory.mktemp("demo") / "sounds")


def test_every_one_is_a_good_recording(paths: list[Path]) -> None:
    assert len(paths) == len(RECORDINGS) >= 8
    for path in paths:
        waveform = read_audio(path)
        assert len(waveform) == round(16_000 * DURATION_S)
        stream = AudioStream(path)
        assert len(np.concatenate(list(stream))) == len(waveform)
        assert stream.warnings == (), path.name
        assert 0.3 < np.abs(waveform).max() <= 1
        halves = [np.sqrt(np.mean(half**2)) for half in np.split(waveform, 2)]
        assert min(halves) > 1e-3, path.name  # something is heard in every window


def test_they_differ(paths: list[Path]) -> None:
    spectra = []
    for path in paths:
        samples, _ = soundfile.read(path)
        power = np.abs(np.fft.rfft(samples)) ** 2
        bands = [part.sum() for part in np.array_split(power, 64)]
        spectra.append(np.sqrt(bands / np.sum(bands)))
    likeness = np.array(spectra) @ np.array(spectra).T - np.eye(len(spectra))
    assert likeness.max() < 0.9999


def test_they_are_the_same_every_time(paths: list[Path], tmp_path: Path) -> None:
    again = write_recordings(tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
