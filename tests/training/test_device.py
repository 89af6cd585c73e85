"""Training on a device of its own: every step stays there, gives what the CPU gives and waits for nothing."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avgan.config import Recipe
from avgan.model import AVGAN
from avgan.training import data as training_data
from avgan.training.run import STAGE_TYPES
from avgan.training.stage import Stage
from other_device import OtherDevice

VARIANTS = {
    "vqvae": ("vqvae", {"vqvae.l1_weight": "0.5", "vqvae.network.code_dim": "2"}),
    "imagination": ("imagination", {}),
    "imagination, cached": ("imagination", {"imagination.num_views": "2", "imagination.gamma_on": "features"}),
    "classifier, frozen": ("classifier", {"classifier.mode": "frozen"}),
    "classifier, head": (
        "classifier",
        {"classifier.mode": "head", "classifier.mixup": "0.3", "classifier.anchor": "1"},
    ),
    "classifier, joint": (
        "classifier",
        {
            "classifier.mode": "joint",
            "classifier.mixup": "0.3",
            "classifier.roll": "true",
            "classifier.gain_db": "6",
            "classifier.time_mask": "0.3",
            "classifier.band_mask": "0.3",
            "classifier.anchor": "1",
            "classifier.ema_decay": "0.9",
        },
    ),
}
# what dropout draws depends on the device
VARIANTS["sampler"] = ("sampler", {"sampler.network.condition_dropout": "0"})
VARIANTS["vqvae, sharp"] = ("vqvae", {})
STEPS = 3
Make = Callable[..., Any]


@pytest.fixture
def recipe_of(tiny_config: Make, tiny_sampled: Make, sharp: dict[str, str]) -> Make:
    """A function that gives the recipe of a variant."""

    def make(name: str) -> Recipe:
        kind, changes = VARIANTS[name]
        if kind == "sampler":
            return tiny_sampled(changes)
        return tiny_config(sharp if name == "vqvae, sharp" else changes)

    return make


def run_stage(
    name: str, videos: Path, recipe_of: Make, device: torch.device
) -> tuple[Stage[Any], list[dict[str, torch.Tensor]]]:
    """A stage after a few steps on a device, and their metrics."""
    kind, recipe = VARIANTS[name][0], recipe_of(name)
    fabric: Any = SimpleNamespace(device=device, autocast=nullcontext)
    loaded = training_data.load(getattr(recipe, kind), videos, seed=0)
    networks = AVGAN([recipe.run(each) for each in recipe.kinds], 4).to(device)
    stage = STAGE_TYPES[kind](recipe.run(kind), networks, loaded, fabric)
    stage.prepare()
    stage.before_first_step()
    return stage, [stage.step(step) for step in range(STEPS)]


def norm_of(parameters: list[torch.Tensor], limit: float) -> torch.Tensor:
    """The norm of all gradients; nothing is clipped."""
    norms = [p.grad.norm() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_stage_learns_on_the_device_as_on_the_cpu(
    name: str, tiny_videos: Path, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch's own asks its tensors for their device below Python, where this one cannot answer
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", norm_of)
    _, expected = run_stage(name, tiny_videos, recipe_of, torch.device("cpu"))
    with OtherDevice() as other:
        stage, found = run_stage(name, tiny_videos, recipe_of, other.device)
        read, ran = other.num_reads, other.num_operations
        stage.step(STEPS)
        assert other.num_reads == read, "a step waits for the device"
        assert other.num_operations > ran + 10
        validation = stage.validate(STEPS)
        assert all(other.is_here(value) for value in found[-1].values() if value.dim())
        stage.finish()
    assert validation.metrics is not None
    for mine, theirs in zip(found, expected, strict=True):
        for metric, value in theirs.items():
            torch.testing.assert_close(mine[metric].cpu(), value, rtol=1e-4, atol=1e-5, msg=metric)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", VARIANTS)
def test_a_stage_learns_on_cuda(name: str, tiny_videos: Path, recipe_of: Make) -> None:
    """Its data lie there, and a step that waits for the device raises."""
    stage, metrics = run_stage(name, tiny_videos, recipe_of, torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        stage.step(STEPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value.cpu()) for value in metrics[-1].values())
