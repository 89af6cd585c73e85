"""The front end against librosa, against TensorFlow's definition, and against what it promises."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from avgan.features import FrontEndConfig, LogMel, averaging_matrix, bin_gains, hz_to_mel, mel_filterbank, mel_to_hz
from avgan.networks.trunks.mn04 import mn04_front_end

RATE_HZ = 16_000


def noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    return 0.1 * rng.standard_normal(num_samples)


def tones(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    times = np.arange(num_samples) / RATE_HZ
    return sum(0.2 * np.sin(2 * np.pi * hz * times) for hz in (97.0, 440.0, 5_123.0))


def speech_like(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of a gliding 120 Hz voice in syllables, with digital silence in between."""
    times = np.arange(num_samples) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120.0 + 20.0 * np.sin(2 * np.pi * 0.7 * times)) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 3.0 * times), 0.0, None)
    pauses = (times % 2.0) < 1.4
    return 0.1 * voice * syllables * pauses


@pytest.mark.parametrize("signal", [noise, tones, speech_like])
@pytest.mark.parametrize("seconds", [5, 10])
def test_log_mel_agrees_with_librosa(signal, seconds: int, rng: np.random.Generator) -> None:
    waveform = signal(seconds * RATE_HZ, rng).astype(np.float32)
    energies = librosa.feature.melspectrogram(
        y=waveform.astype(np.float64),
        sr=RATE_HZ,
        n_fft=1024,
        hop_length=512,
        window="hann",
        center=True,
        pad_mode="constant",
        power=2.0,
        n_mels=64,
        fmin=0.0,
        fmax=8_000.0,
        norm="slaney",
    )
    expected = librosa.power_to_db(energies, ref=1.0, amin=1e-10, top_db=None)
    found = LogMel(FrontEndConfig())(torch.from_numpy(waveform)[None])
    assert found.shape == (1, 1, 64, seconds * RATE_HZ // 512 + 1)
    found_energies = 10.0 ** (found[0, 0].double().numpy() / 10.0)
    error = np.abs(found_energies - np.maximum(energies, 1e-10))
    # The reference is in double precision: far below a loud band single precision's rounding shows.
    in_force = np.maximum(energies, 1e-5 * energies.max(0))
    assert (error / np.maximum(in_force, 1e-10)).max() < 10.0 ** (1e-4 / 10.0) - 1.0
    assert np.abs(found[0, 0].numpy() - expected).max() < 0.2


def test_slaney_filters_equal_librosas() -> None:
    expected = librosa.filters.mel(sr=RATE_HZ, n_fft=1024, n_mels=64, fmin=0.0, fmax=8_000.0)
    np.testing.assert_allclose(mel_filterbank(FrontEndConfig()), expected, rtol=1e-5, atol=1e-9)


def test_htk_filters_equal_tensorflows_definition() -> None:
    """`tf.signal.linear_to_mel_weight_matrix`, loop by loop: triangles on the mel axis, the first bin left out."""
    config = FrontEndConfig(n_fft=512, window_length=400, f_min_hz=125.0, f_max_hz=7_500.0, mel_scale="htk")

    def mel(hz: float) -> float:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    num_bins = config.n_fft // 2 + 1
    low, high = mel(config.f_min_hz), mel(config.f_max_hz)
    step = (high - low) / (config.num_mels + 1)
    expected = np.zeros((config.num_mels, num_bins))
    for band in range(config.num_mels):
        left, centre, right = (low + step * (band + k) for k in range(3))
        for index in range(1, num_bins):
            place = mel(index * config.sample_rate_hz / config.n_fft)
            if left < place <= centre:
                expected[band, index] = (place - left) / (centre - left)
            elif centre < place < right:
                expected[band, index] = (right - place) / (right - centre)
    np.testing.assert_allclose(mel_filterbank(config), expected, atol=1e-5)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scales_invert_and_agree_with_librosa(scale: str) -> None:
    hz = np.linspace(1.0, 8_000.0, 500)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, rtol=1e-9)
    expected = librosa.hz_to_mel(hz, htk=scale == "htk")
    np.testing.assert_allclose(hz_to_mel(hz, scale), expected, rtol=1e-9)


@given(st.integers(1, 200), st.integers(1, 200))
def test_averaging_is_fair_to_every_frame(num_frames: int, num_time_steps: int) -> None:
    if num_frames < num_time_steps:
        with pytest.raises(ValueError, match="longer window"):
            averaging_matrix(num_frames, num_time_steps)
        return
    weights = averaging_matrix(num_frames, num_time_steps).double()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(num_time_steps).double(), rtol=0, atol=1e-5)
    share = torch.full((num_frames,), num_time_steps / num_frames).double()
    torch.testing.assert_close(weights.sum(1), share, rtol=0, atol=1e-4)


def test_averaging_keeps_the_mean_energy(rng: np.random.Generator) -> None:
    waveform = torch.from_numpy(noise(5 * RATE_HZ, rng).astype(np.float32))[None]
    every_hop = 10.0 ** (LogMel(FrontEndConfig())(waveform).double() / 10.0)
    reduced = 10.0 ** (LogMel(FrontEndConfig(num_time_steps=64))(waveform).double() / 10.0)
    assert reduced.shape == (1, 1, 64, 64)
    torch.testing.assert_close(reduced.mean(3), every_hop.mean(3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("position", [0, 1, 511, 512, 777, 40_000, 79_871, 79_999])
def test_an_impulse_anywhere_is_heard(position: int) -> None:
    waveform = torch.zeros(1, 5 * RATE_HZ)
    waveform[0, position] = 1.0
    log_mel = LogMel(FrontEndConfig(num_time_steps=64))(waveform)[0, 0]
    steps = (log_mel.amax(0) > -99.0).nonzero().flatten()
    assert len(steps) > 0
    heard_at = steps.double().mean() / 64
    assert abs(heard_at - position / (5 * RATE_HZ)) < 0.03


def test_too_short_a_window_is_refused_not_stretched() -> None:
    with pytest.raises(ValueError, match="32 frames cannot fill 64 time steps"):
        LogMel(FrontEndConfig(num_time_steps=64))(torch.zeros(1, RATE_HZ))


def resampled_up(waveform: np.ndarray) -> np.ndarray:
    """A periodic waveform (L,) at twice its rate, exactly: its transform, padded with zeros."""
    return np.fft.irfft(2 * np.fft.rfft(waveform), 2 * len(waveform))


def mn04_reference(waveform: np.ndarray) -> np.ndarray:
    """What the authors of mn04 compute of a waveform (L,) at 32 kHz, in double precision: (128, T)."""
    emphasised = waveform[1:] - 0.97 * waveform[:-1]
    padded = np.pad(emphasised, 512, mode="reflect")
    window = np.pad(np.hanning(800), 112)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::320]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    mel = 1127.0 * np.log(1.0 + np.fft.rfftfreq(1024, 1 / 32_000) / 700.0)
    corners = np.linspace(0.0, 1127.0 * np.log(1.0 + 15_000 / 700.0), 130)
    rising = (mel - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - mel) / np.diff(corners)[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return (np.log(filters @ power.T + 1e-5) + 4.5) / 5.0


def test_mn04s_front_end_hears_at_16_khz_what_its_authors_hear_at_32(rng: np.random.Generator) -> None:
    """Sound that reaches up to 7 kHz, 60 dB over the range of its bands; the ends, where they pad, left out."""
    spectrum = np.fft.rfft(rng.standard_normal(2 * RATE_HZ))
    hz = np.fft.rfftfreq(2 * RATE_HZ, 1 / RATE_HZ)
    spectrum *= np.where(hz < 7_000.0, 10.0 ** (-3.0 * hz / 8_000.0), 0.0)
    waveform = np.fft.irfft(spectrum)
    waveform *= 0.1 / waveform.std()
    expected = mn04_reference(resampled_up(waveform))
    found = LogMel(mn04_front_end())(torch.from_numpy(waveform.astype(np.float32))[None])[0, 0]
    assert found.shape == (128, 201)
    middle = slice(4, 196)
    found, expected = found.numpy()[:, middle], expected[:, middle]
    error = np.abs(found - expected)
    # 0.02 are 0.4 dB. Noise in a low band of one or two bins differs most, where the pre-emphasis is steep and theirs
    # comes before the window: it evens out over time
    assert error.mean() < 0.02
    assert np.quantile(error, 0.99) < 0.12
    assert np.abs((found - expected).mean(1)).max() < 0.02
    silence = (np.log(1e-5) + 4.5) / 5.0
    np.testing.assert_allclose(found[115:], silence, atol=1e-3)


def test_a_native_rate_scales_energies_and_nothing_else() -> None:
    here = mel_filterbank(FrontEndConfig(mel_scale="htk"))
    there = mel_filterbank(FrontEndConfig(mel_scale="htk", native_rate_hz=32_000))
    np.testing.assert_allclose(there, 4.0 * here, rtol=1e-6)
    bins_hz = np.array([0.0, 8_000.0])
    gains = bin_gains(FrontEndConfig(native_rate_hz=32_000, pre_emphasis=0.97), bins_hz)
    np.testing.assert_allclose(gains, [4 * 0.03**2, 4 * (1 + 0.97**2)])


@pytest.mark.parametrize("config", [FrontEndConfig(num_time_steps=64), mn04_front_end()])
def test_training_in_half_precision_hears_the_same(config: FrontEndConfig, rng: np.random.Generator) -> None:
    waveform = torch.from_numpy(noise(5 * RATE_HZ, rng).astype(np.float32))[None]
    front_end = LogMel(config)
    with torch.autocast("cpu", torch.bfloat16):
        in_training = front_end(waveform)
    assert in_training.dtype == torch.float32
    assert torch.equal(in_training, front_end(waveform))


def test_a_recording_is_heard_alike_alone_and_in_a_batch(rng: np.random.Generator) -> None:
    batch = torch.from_numpy(np.stack([noise(RATE_HZ, rng) for _ in range(3)]).astype(np.float32))
    front_end = LogMel(FrontEndConfig())
    torch.testing.assert_close(front_end(batch)[1:2], front_end(batch[1:2]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_length": 2048}, "window_length 2048 exceeds n_fft 1024"),
        ({"f_max_hz": 9_000.0}, "do not fit a rate of 16000 Hz"),
        ({"f_min_hz": 8_000.0}, "do not fit"),
        ({"num_bands": 3}, "num_bands"),
    ],
)
def test_impossible_front_ends_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FrontEndConfig(**fields)


@pytest.mark.parametrize("gain_db", [-60.0, -40.0, 10.0])
def test_with_a_level_the_gain_of_a_recorder_changes_nothing(gain_db: float, rng: np.random.Generator) -> None:
    front_end = LogMel(mn04_front_end(-25.0))
    waveform = torch.from_numpy(speech_like(2 * RATE_HZ, rng)).float()[None]
    heard = front_end(waveform)
    assert torch.allclose(front_end(waveform * 10 ** (gain_db / 20)), heard, atol=1e-4)
    # what is twice as loud within a recording stays so
    halves = torch.cat((waveform, 2 * waveform), 1)
    first, second = front_end(halves)[..., 20:180], front_end(halves)[..., 220:380]
    loud = first > first.mean()
    assert torch.allclose((second - first)[loud], torch.tensor(0.2 * np.log(4.0)).float(), atol=0.03)


def test_silence_stays_silence_whatever_the_level() -> None:
    silence = torch.zeros(1, RATE_HZ)
    levelled, raw = (LogMel(mn04_front_end(level))(silence) for level in (-25.0, None))
    assert torch.equal(levelled, raw)


@pytest.mark.parametrize("signal", [noise, tones, speech_like])
@pytest.mark.parametrize(
    "fields",
    [
        {"n_fft": 512, "window_length": 400, "symmetric_window": True, "padding": "reflect"},
        {"n_fft": 512, "window_length": 401},
        {"n_fft": 512, "window_length": 400, "centre": False},
        {"n_fft": 512, "window_length": 512, "centre": False},
    ],
)
def test_the_product_of_single_precision_is_the_transform(signal, fields: dict, rng: np.random.Generator) -> None:
    config = FrontEndConfig(hop_length=160, compression="log", floor=1e-5, **fields)
    front_end = LogMel(config)
    waveform = torch.from_numpy(signal(RATE_HZ, rng).astype(np.float32))[None]
    energy = front_end._energy(waveform.double())
    product = front_end._energy_by_product(waveform)
    assert product.shape == energy.shape
    torch.testing.assert_close((product + 1e-5).log(), (energy + 1e-5).log(), rtol=0, atol=1e-3)
