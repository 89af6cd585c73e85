"""Kumar's network with weights that a user brings: what it takes for them, and that they are used as published."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips
from safetensors.torch import save_file
from torch import Tensor, nn

from avgan.baselines import kumar
from avgan.baselines.method import Budget, Clips
from avgan.errors import DataError

PUBLISHED = [
    # number of a layer, channels before and after; what lies between are poolings
    (1, 1, 16),
    (2, 16, 16),
    (4, 16, 32),
    (5, 32, 32),
    (7, 32, 64),
    (8, 64, 64),
    (10, 64, 128),
    (11, 128, 128),
    (13, 128, 256),
    (14, 256, 256),
    (16, 256, 512),
    (18, 512, 1024),
]


def weights() -> dict[str, Tensor]:
    """Arrays of the names and shapes of the published file, as large as those of a trained network."""
    torch.manual_seed(0)
    arrays: dict[str, Tensor] = {}
    for number, before, after in PUBLISHED:
        size = 2 if number == 18 else 3
        kernel = torch.empty(after, before, size, size)
        arrays[f"layer{number}.0.weight"] = nn.init.kaiming_normal_(kernel)
        arrays[f"layer{number}.0.bias"] = torch.zeros(after)
        arrays[f"layer{number}.1.weight"] = torch.rand(after) + 0.5
        arrays[f"layer{number}.1.bias"] = torch.zeros(after)
        arrays[f"layer{number}.1.running_mean"] = torch.randn(after) * 0.1
        arrays[f"layer{number}.1.running_var"] = torch.rand(after) + 0.5
    arrays["layer19.0.weight"] = torch.randn(527, 1024, 1, 1)
    arrays["layer19.0.bias"] = torch.zeros(527)
    return arrays


def fit(clips: Clips) -> kumar.Pretrained:
    rival = kumar.Pretrained()
    rival.fit(clips, budget=Budget(), rng=np.random.default_rng(0))
    return rival


def as_published(arrays: dict[str, Tensor], log_mel: Tensor) -> Tensor:
    """Log-mel (B, T, F) -> (B, 1024), written down from the publication."""
    hidden = log_mel[:, None]
    pooled_after = {2, 5, 8, 11, 14, 16}
    for number, _, _ in PUBLISHED:
        of_layer = {key.split(".", 1)[1]: v for key, v in arrays.items() if key.startswith(f"layer{number}.")}
        padding = 0 if number == 18 else 1
        hidden = nn.functional.conv2d(hidden, of_layer["0.weight"], of_layer["0.bias"], padding=padding)
        mean, var = of_layer["1.running_mean"], of_layer["1.running_var"]
        hidden = nn.functional.batch_norm(hidden, mean, var, of_layer["1.weight"], of_layer["1.bias"])
        hidden = hidden.relu()
        if number in pooled_after:
            hidden = nn.functional.max_pool2d(hidden, 2)
    return hidden.mean((2, 3))


@pytest.mark.parametrize("name", kumar.FILENAMES)
def test_weights_of_ones_own_are_used_as_published(name: str, tmp_path: Path) -> None:
    arrays = weights()
    path = tmp_path / "kumar" / name
    path.parent.mkdir()
    if path.suffix == ".safetensors":
        save_file(arrays, path)
    else:  # as torch wrote it in 2018, from a training on several processors
        content = {f"module.{key}": value for key, value in arrays.items()}
        torch.save(content, path, _use_new_zipfile_serialization=False)
    known, test = easy_clips(4, folder=tmp_path), easy_clips(2, seed=1)
    rival = fit(known)
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.6  # even random layers tell these apart
    log_mels = kumar.log_mels(test)
    with torch.inference_mode():
        expected = as_published(arrays, torch.from_numpy(log_mels)[:, 0].transpose(1, 2))
    np.testing.assert_allclose(rival.embed(log_mels), expected, rtol=1e-3, atol=1e-4)
    used = sum(v.numel() for k, v in arrays.items() if "running" not in k and "layer19" not in k)
    machine = 3 * 1024 + 3
    assert rival.cost().num_parameters == used + machine


def test_short_clips_end_in_zeros_and_quiet_ones_are_limited() -> None:
    log_mels = kumar.log_mels(easy_clips(1, seconds=0.5))[:, 0]
    num_steps = 1 + 22_050 // 512
    assert log_mels.shape == (3, 128, 128)
    assert not log_mels[..., num_steps:].any()
    inside = log_mels[..., :num_steps]
    assert (inside.max((1, 2)) - inside.min((1, 2)) <= 80.0 + 1e-4).all()


def test_without_weights_it_says_where_they_are(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        with pytest.raises(DataError, match=r"no kumar.safetensors .* get mx-h64"):
            fit(easy_clips(1, folder=folder))


class Runs:
    """What a pickle can do."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("was-run"),))


def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clips, path = easy_clips(1, folder=tmp_path), tmp_path / "kumar.pth"
    path.write_bytes(pickle.dumps({"layer1.0.weight": Runs()}, protocol=2))
    with pytest.raises(DataError, match="cannot be read"):
        fit(clips)
    assert not (tmp_path / "was-run").exists()
    for change, message in (
        ({"layer16.0.weight": torch.zeros(512, 256, 1, 1)}, r"'layer16.0.weight' has the shape"),
        ({"layer2.1.bias": torch.full((16,), torch.nan)}, "holds what is no number"),
        ({"layer5.0.bias": None}, "has no 'layer5.0.bias'"),
    ):
        changed = weights() | change
        torch.save({key: value for key, value in changed.items() if value is not None}, path)
        with pytest.raises(DataError, match=message):
            fit(clips)
