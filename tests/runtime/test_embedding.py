"""Windows that share their pieces are embedded as windows one by one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avgan.audio import windows
from avgan.demo import RATE_HZ as RATE_HZ_OF_DEMO
from avgan.demo import RECORDINGS
from avgan.runtime import load
from avgan.runtime.bundle import Steps, installed
from avgan.runtime.embedding import embed_windows

RATE_HZ = 16_000


def test_live_windows_come_as_soon_as_they_are_over(toy_bundle: Path) -> None:
    model = load(toy_bundle)
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(40):
            read += 1_600
            yield np.full(1_600, 0.5, np.float32)

    for window in embed_windows(model.network, model.card, blocks(), hop_s=0.5, live=True):
        assert read / RATE_HZ - window.end_s <= 0.15


@pytest.mark.parametrize("name", [bundle.card.name for bundle in installed()])
def test_the_shipped_models_answer_alike_either_way(name: str, rng: np.random.Generator) -> None:
    """Shared steps lie in a stretch of their own, at its level: the answers are near, not equal."""
    model = load(name)
    sounds = [RECORDINGS[sound](rng) for sound in ("rain", "sea_waves", "wind")]
    waveform = np.concatenate([0.05 * sound / sound.std() for sound in sounds]).astype(np.float32)
    differences = []
    for window in model.listen(waveform, RATE_HZ_OF_DEMO, hop_s=1.0):
        start, end = (round(at_s * RATE_HZ_OF_DEMO) for at_s in (window.start_s, window.end_s))
        alone = model.classify(waveform[start:end], RATE_HZ_OF_DEMO)
        differences.append(abs(alone.probability - window.probability))
    assert np.mean(differences) < 0.15


def test_a_recording_shorter_than_a_window_is_embedded_whole(toy_bundle: Path) -> None:
    model = load(toy_bundle)
    waveform = np.full(9_000, 0.3, np.float32)
    (window,) = embed_windows(model.network, model.card, [waveform], hop_s=0.25)
    assert (window.start_s, window.end_s) == (0.0, 9_000 / RATE_HZ)


class SteppingNetwork:
    """Embeds each step of 0.1 s as the mean and the mean square of its samples; a window's are those of its steps."""

    num_embedded = 0

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        return self.summarize(self.steps(waveforms[:, : 10 * 1_600]))

    def steps(self, waveforms: np.ndarray) -> np.ndarray:
        self.num_embedded += waveforms.size
        parts = waveforms.reshape(len(waveforms), -1, 1_600)
        # one more than was asked for, as a network has that pads the end
        found = np.stack((parts.mean(2), (parts**2).mean(2)), 1)
        return np.concatenate((found, np.full_like(found[..., :1], np.nan)), 2)

    def summarize(self, steps: np.ndarray) -> np.ndarray:
        return steps[..., :10].mean(2)

    def ahead(self, compute, waveforms, size):
        for waveform in waveforms:
            yield waveform, compute(waveform[None])[0]


@pytest.mark.parametrize("hop_s", [0.1, 0.25, 0.7])
@pytest.mark.parametrize("length_s", [0.4, 1.05, 1.2, 3.0, 7.37, 12.0])
@pytest.mark.parametrize("block", [997, 40_000])
def test_windows_made_of_steps_are_those_of_the_sound_itself(
    toy_bundle: Path, rng: np.random.Generator, hop_s: float, length_s: float, block: int
) -> None:
    card = load(toy_bundle).card.model_copy(update={"steps": Steps(num_samples=1_600, num=12)})
    # a level for each tenth of a second: a step that is taken from elsewhere is seen
    levels = np.repeat(rng.uniform(0.1, 0.9, 130), 1_600)[: round(length_s * RATE_HZ)]
    waveform = levels.astype(np.float32)
    blocks = [waveform[i : i + block] for i in range(0, len(waveform), block)]
    network = SteppingNetwork()
    found = list(embed_windows(network, card, blocks, hop_s=hop_s))  # type: ignore[arg-type]
    wanted = list(windows(waveform, rate_hz=RATE_HZ, window_s=1.0, hop_s=hop_s, fill=card.short_clip_fill))
    assert [w.start_s for w in found[: len(wanted) - 1]] == pytest.approx([w.start_s for w in wanted[:-1]])
    assert len(found) == len(wanted)
    assert found[-1].end_s == pytest.approx(wanted[-1].end_s, abs=1e-4)
    for one, other in zip(found[:-1], wanted[:-1], strict=True):
        # the steps that lie nearest are half a step away at most
        assert one.embedding[0] == pytest.approx(other.waveform.mean(), abs=0.05)
        assert one.peak <= 0.9 + 1e-6
    if length_s > 3 and hop_s == 0.1:
        assert network.num_embedded < 1.4 * len(waveform) + 12 * 1_600
