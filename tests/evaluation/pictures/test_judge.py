"""The reader of scenes that judges imagined pictures: learns what real features show, and repeatably."""

import numpy as np
import torch

from avgan.evaluation.pictures.judge import train_reader


def scenes(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Maps (M, V = 2, D = 2, 16, 16) whose scene is where they are bright: sky, ground or all over."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    maps = 0.3 * rng.standard_normal((count, 2, 16, 16))
    maps[targets == 0, :, :8] += 1.0
    maps[targets == 1, :, 8:] += 1.0
    maps[targets == 2] += 1.0
    both = np.stack((maps, maps[..., ::-1]), axis=1)
    return torch.from_numpy(both.astype(np.float32)).half(), targets


def test_a_reader_names_scenes_it_never_saw() -> None:
    features, targets = scenes(128, seed=0)
    reader = train_reader(features, targets, num_scenes=3, num_epochs=40, seed=0)
    unseen, answers = scenes(30, seed=1)
    with torch.no_grad():
        logits = reader(unseen[:, 0].float())
    assert (logits.argmax(1).numpy() == answers).mean() > 0.9
    assert not reader.training


def test_a_reader_is_repeatable_and_leaves_the_global_seed_alone() -> None:
    features, targets = scenes(128, seed=0)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, same, other = (
        dict(train_reader(features, targets, num_scenes=3, num_epochs=2, seed=seed).state_dict()) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["dense.weight"], other["dense.weight"])
