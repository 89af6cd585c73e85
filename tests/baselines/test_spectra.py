"""What the rivals are given, against librosa where it has the same definition."""

import librosa
import numpy as np
import pytest
from easy_sounds import easy_clips

from avgan.baselines import spectra
from avgan.baselines.method import BLOCK
from avgan.features import FrontEndConfig

RATE_HZ = 22_050


@pytest.fixture
def waveforms(rng: np.random.Generator) -> np.ndarray:
    """(3, L): a chord with clicks, noise, and a tone that fades out."""
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    chord = sum(0.1 * np.sin(2 * np.pi * hz * times) for hz in (220.0, 554.0, 3_300.0))
    chord[:: RATE_HZ // 4] += 0.6
    noise = 0.1 * rng.standard_normal(len(times))
    tone = 0.3 * np.sin(2 * np.pi * 880.0 * times) * np.exp(-3 * times)
    return np.stack([chord, noise, tone]).astype(np.float32)


def settings(**changes) -> FrontEndConfig:
    given = {"sample_rate_hz": RATE_HZ, "f_max_hz": RATE_HZ / 2, "num_mels": 60}
    return FrontEndConfig(**(given | changes))


def librosa_mel(waveform: np.ndarray, *, pad_mode: str = "constant", **options: float) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=waveform.astype(np.float64), sr=RATE_HZ, n_fft=1024, pad_mode=pad_mode, **options
    )


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"n_mels": 60, "hop_length": 512}),
        (
            {"num_mels": 64, "hop_length": 500, "f_min_hz": 50.0, "f_max_hz": 10_000.0},
            {"n_mels": 64, "hop_length": 500, "fmin": 50.0, "fmax": 10_000.0},
        ),
    ],
)
def test_log_mels_are_librosas(waveforms: np.ndarray, changes: dict, options: dict) -> None:
    ours = spectra.log_mels(waveforms, settings(**changes))
    theirs = [librosa.power_to_db(librosa_mel(row, **options), top_db=None) for row in waveforms]
    np.testing.assert_allclose(ours, np.stack(theirs), atol=2e-3)


def test_mirrored_ends_are_librosas_of_then(waveforms: np.ndarray) -> None:
    ours = spectra.log_mels(waveforms, settings(padding="reflect"))
    options = {"n_mels": 60, "hop_length": 512}
    theirs = [librosa.power_to_db(librosa_mel(row, pad_mode="reflect", **options), top_db=None) for row in waveforms]
    np.testing.assert_allclose(ours, np.stack(theirs), atol=2e-3)
    silent = spectra.log_mels(waveforms, settings())
    assert np.abs(ours - silent)[..., [0, -1]].max() > 0.5
    np.testing.assert_allclose(ours[..., 2:-2], silent[..., 2:-2], atol=1e-3)


def test_natural_logarithms_are_decibels_by_another_number(waveforms: np.ndarray) -> None:
    decibels = spectra.log_mels(waveforms, settings())
    nepers = spectra.log_mels(waveforms, settings(compression="log"))
    loud = decibels > -40  # where the floor that is added counts for nothing
    np.testing.assert_allclose(nepers[loud] * 10 / np.log(10), decibels[loud], atol=1e-3)


def test_many_clips_are_transformed_as_one_by_one() -> None:
    many = easy_clips(BLOCK)
    together = spectra.log_mels_of(many, settings())
    np.testing.assert_allclose(together, spectra.log_mels(many.read(RATE_HZ), settings()), atol=1e-4)


def test_band_statistics_are_numpys(rng: np.random.Generator) -> None:
    values = rng.normal(3.0, 2.0, (5, 2, 4, 7)).astype(np.float32)
    statistics = spectra.BandStatistics.of(values)
    np.testing.assert_allclose(statistics.mean[..., 0], values.mean((0, 3)), rtol=1e-5)
    np.testing.assert_allclose(statistics.spread[..., 0], values.std((0, 3)), rtol=1e-5)
    standardised = statistics.standardise(values)
    np.testing.assert_allclose(standardised.mean((0, 3)), 0.0, atol=1e-5)


def test_energy_spectra_are_librosas(waveforms: np.ndarray) -> None:
    ours = spectra.energy_spectra(waveforms, n_fft=512, hop_length=256)
    theirs = librosa.stft(waveforms.astype(np.float64), n_fft=512, hop_length=256, pad_mode="reflect")
    np.testing.assert_allclose(ours, np.abs(theirs) ** 2, rtol=1e-4, atol=1e-6)


def test_range_is_limited_clip_by_clip(waveforms: np.ndarray) -> None:
    decibels = spectra.log_mels(waveforms, settings())
    limited = spectra.limit_range(decibels, 80.0)
    theirs = [librosa.power_to_db(librosa_mel(row, n_mels=60, hop_length=512)) for row in waveforms]
    np.testing.assert_allclose(limited, np.stack(theirs), atol=2e-3)


@pytest.mark.parametrize("width", [3, 9])
def test_deltas_are_librosas(waveforms: np.ndarray, width: int) -> None:
    decibels = spectra.log_mels(waveforms, settings())
    theirs = librosa.feature.delta(decibels.astype(np.float64), width=width, mode="nearest")
    np.testing.assert_allclose(spectra.deltas(decibels, width=width), theirs, atol=1e-4)


def test_mfccs_are_librosas(waveforms: np.ndarray) -> None:
    decibels = spectra.log_mels(waveforms, settings())
    theirs = librosa.feature.mfcc(S=decibels, n_mfcc=13, dct_type=2, norm="ortho")
    np.testing.assert_allclose(spectra.mfccs(decibels, 13), theirs, atol=2e-3)


@pytest.mark.parametrize(("frame_length", "hop_length"), [(2048, 512), (512, 256)])
def test_zero_crossing_rates_are_librosas(waveforms: np.ndarray, frame_length: int, hop_length: int) -> None:
    waveforms[2, RATE_HZ:] = 0.0
    ours = spectra.zero_crossing_rates(waveforms, frame_length=frame_length, hop_length=hop_length)
    theirs = librosa.feature.zero_crossing_rate(waveforms, frame_length=frame_length, hop_length=hop_length)[:, 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_harmonic_and_percussive_parts_are_librosas(waveforms: np.ndarray) -> None:
    magnitudes = np.sqrt(spectra.energy_spectra(waveforms, n_fft=512, hop_length=256))
    harmonic, percussive = spectra.harmonic_percussive(magnitudes)
    for index, row in enumerate(magnitudes):
        theirs = librosa.decompose.hpss(row)
        np.testing.assert_allclose(harmonic[index], theirs[0], atol=1e-4)
        np.testing.assert_allclose(percussive[index], theirs[1], atol=1e-4)


def test_the_two_parts_are_the_whole_also_in_silence() -> None:
    harmonic, percussive = spectra.harmonic_percussive(np.zeros((1, 40, 50), np.float32))
    assert not np.any([harmonic, percussive])


def test_a_weights_are_librosas() -> None:
    frequencies_hz = np.linspace(0, RATE_HZ / 2, 1025)
    ours = spectra.a_weights_db(frequencies_hz)
    np.testing.assert_allclose(ours, librosa.A_weighting(frequencies_hz), atol=1e-3)
