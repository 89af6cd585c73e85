"""SoundNet: its sizes, that it learns what is easy to tell apart, and what it takes for weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips
from safetensors.numpy import save_file

from avgan.baselines import soundnet
from avgan.baselines.method import Budget
from avgan.baselines.network import NetworkRival
from avgan.errors import DataError
from avgan.weights import read_arrays


def brisk(rival: NetworkRival) -> NetworkRival:
    """The rival with few and short epochs."""
    num_epochs = 6 if rival.card.name == "soundnet-5" else 16
    rival.recipe = replace(rival.recipe, num_epochs=num_epochs, batch_size=6)
    return rival


@pytest.mark.parametrize("shape", [soundnet.EIGHT, soundnet.FIVE])
def test_the_layers_leave_what_the_original_has(shape: soundnet.Shape) -> None:
    network = soundnet.SoundNet(shape, 1000).eval()
    twenty_s = torch.zeros(1, 1, 1, 20 * soundnet.RATE_HZ)
    with torch.inference_mode():
        hidden = network.features(twenty_s, len(shape.layers))
        assert network.head(hidden).shape == (1, 1000, 1, 4)  # one for each 5 s, as its teachers had
        inner = network.features(twenty_s[..., : 10 * soundnet.RATE_HZ], shape.num_transferred)
        assert inner.shape == (1, 256, 1, 27)


@pytest.mark.parametrize("make", [soundnet.five, pytest.param(soundnet.eight, marks=pytest.mark.slow)])
def test_it_learns_tones_from_noise_from_clicks(make: Callable[[], NetworkRival]) -> None:
    rival, test = brisk(make()), easy_clips(4, seed=1)
    rival.fit(easy_clips(8), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(test.select(np.array([2]))).shape == (1, 3)
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)


def weights_of(shape: soundnet.Shape) -> dict[str, np.ndarray]:
    """Weights as a user would bring them, with the axes of the original."""
    network = soundnet.SoundNet(shape, 3)
    for parameter in network.parameters():
        if parameter.dim() == 4:  # as large as those of a trained network, else nothing gets through
            torch.nn.init.kaiming_normal_(parameter)
    arrays = {}
    for number, layer in enumerate(network.layers, start=1):
        for part, name in zip(layer, ("conv", "norm"), strict=False):
            for key, value in part.state_dict().items():
                if key != "num_batches_tracked":
                    array = value.numpy()
                    arrays[f"{name}{number}.{key}"] = array.swapaxes(2, 3) if array.ndim == 4 else array
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def test_weights_of_ones_own_are_used(tmp_path: Path) -> None:
    arrays = weights_of(soundnet.EIGHT)
    (tmp_path / "soundnet").mkdir()
    save_file(arrays, tmp_path / "soundnet" / "soundnet8.safetensors")
    rival, test = soundnet.eight_transferred(), easy_clips(4, seed=1)
    rival.fit(easy_clips(8, folder=tmp_path), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8  # even random layers tell these apart
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)
    loaded = rival._network.layers[2][0].weight.squeeze()
    np.testing.assert_array_equal(loaded.detach(), arrays["conv3.weight"].squeeze())


def test_other_weights_are_refused(tmp_path: Path) -> None:
    def fit() -> None:
        clips = easy_clips(2, folder=tmp_path)
        soundnet.eight_transferred().fit(clips, budget=Budget(), rng=np.random.default_rng(0))

    with pytest.raises(DataError, match=r"convert a copy of your own"):
        fit()
    path = tmp_path / "soundnet8.npz"
    np.savez(path, **weights_of(soundnet.FIVE))
    with pytest.raises(DataError, match=r"'conv1.weight' has the shape"):
        fit()
    np.savez(path, **{"conv1.weight": np.array([{}], object)})
    with pytest.raises(DataError, match="cannot be read"):
        fit()
    with pytest.raises(DataError, match="pickle"):
        read_arrays(tmp_path / "sound8.npy")
