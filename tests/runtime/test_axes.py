"""What the axes of a log-mel say, against the front ends that make it."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from avgan.features import FrontEndConfig, LogMel
from avgan.networks.trunks.mn04 import mn04_front_end
from avgan.runtime.axes import band_edges, step_times
from avgan.runtime.bundle import Card

RATE_HZ, SECONDS = 16_000, 2.0
FRONT_ENDS = {
    "paper": FrontEndConfig(),
    "htk": FrontEndConfig(n_fft=512, window_length=400, f_min_hz=125.0, mel_scale="htk"),
    "mn04": mn04_front_end(),
}


def card_of(front_end: FrontEndConfig) -> Card:
    return Card(
        format=2,
        name="a",
        version="1",
        labels=("x",),
        label_kind="scene",
        sample_rate_hz=RATE_HZ,
        window_s=SECONDS,
        trained={"front_end": front_end.model_dump(mode="json")},
        sha256={},
    )


@pytest.mark.parametrize("frequency_hz", [500.0, 1_000.0, 3_000.0, 6_000.0])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_tone_is_in_the_band_that_is_said_to_hold_it(name: str, frequency_hz: float) -> None:
    front_end = FRONT_ENDS[name]
    times = torch.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    log_mel = LogMel(front_end)(0.3 * torch.sin(2 * np.pi * frequency_hz * times)[None])[0, 0]
    edges = band_edges(card_of(front_end), front_end.num_mels)
    assert len(edges) == front_end.num_mels + 1
    loudest = int(log_mel.mean(1).argmax())
    one_bin = RATE_HZ / front_end.n_fft  # a low band is narrower than a bin
    assert edges[loudest] - one_bin <= frequency_hz <= edges[loudest + 1] + one_bin


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_an_impulse_is_at_the_time_that_is_said(name: str) -> None:
    front_end, place = FRONT_ENDS[name], 12_345
    waveform = torch.zeros(1, round(SECONDS * RATE_HZ))
    waveform[0, place] = 1.0
    total = LogMel(front_end)(waveform)[0, 0].sum(0)
    heard = step_times(card_of(front_end), len(total))[(total > total.min() + 1.0).numpy()]
    hop_s = front_end.hop_length / RATE_HZ
    assert heard.mean() == pytest.approx(place / RATE_HZ, abs=hop_s)


def test_bands_above_the_nyquist_frequency_are_named_and_silent() -> None:
    """mn04's bands reach 15 kHz, of which 16 kHz hold eight: the axis names them as they were drawn."""
    front_end = FRONT_ENDS["mn04"]
    edges = band_edges(card_of(front_end), front_end.num_mels)
    above = edges[:-1] > RATE_HZ / 2
    assert 14_500.0 < edges[-1] < 15_000.0
    assert above.any()
    loud = LogMel(front_end)(torch.randn(1, RATE_HZ))[0, 0].numpy()
    silence = (np.log(front_end.floor) + front_end.offset) * front_end.scale
    # the lowest of them reaches down to 8 kHz with its triangle
    np.testing.assert_allclose(loud[above][1:], silence, atol=1e-3)
    assert (loud[~above][:-1].mean(1) > silence + 1.0).all()
