"""What a run imagines for recordings, and a judge of it: a small network that names the scene of a code map.

The judge reads code vectors (B, D, 16, 16), all that a picture is decoded from, and is trained on real photographs for
each run. Its accuracy on photographs it never saw is the most that imagined pictures can be expected to reach.

Shapes: B batch, M clips or pictures, D code dimension, S scenes, H W pixels.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Manifest
from avgan.model import AVGAN
from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.training.log import to_uint8
from avgan.training.progress import progress
from avgan.training.schedule import generator_of, indices_at, rate_factor

CLIPS_AT_ONCE = 32
NUM_EPOCHS = 14
SIZES = ClassifierConfig(widths=(32, 64, 128, 256), dropout=0.3)
BATCH = 128
LEARNING_RATE = 2e-3
NOISE = 0.05
"""Deviation of what is added to code vectors in training, so that the judge does not learn them by heart."""

BATCH_OF_PICTURES = 64

Network = TypeVar("Network", bound=nn.Module)


@torch.inference_mode()
def imagine(networks: AVGAN, trained: Checkpoint, sounds: Manifest) -> Tensor:
    """The imagined features of all clips, (M, D, 16, 16)."""
    device = next(networks.parameters()).device
    store = WaveformStore(sounds, rate_hz=trained.front_end.sample_rate_hz, window_s=trained.window_s, cache_bytes=0)
    parts = []
    for rows in progress(torch.arange(len(sounds)).split(CLIPS_AT_ONCE), f"imagining {len(sounds)} recordings"):
        waveform = torch.from_numpy(store.get(rows.numpy())).to(device)
        parts.append(networks.generator(networks.log_mel(waveform)).cpu())
    return torch.cat(parts)


@torch.inference_mode()
def sample(networks: AVGAN, features: Tensor, sounds: Manifest) -> Tensor:
    """The maps (M, D, 16, 16) that pictures are decoded from: the first sample of each clip's imagined features.

    Each clip has noise of its own, by its id; without a sampler the features themselves are decoded.
    """
    if networks.sampler is None:
        return features
    device = next(networks.parameters()).device
    parts = []
    for rows in progress(torch.arange(len(features)).split(CLIPS_AT_ONCE), f"sampling {len(features)} pictures"):
        noise = networks.noise(*(zlib.crc32(sounds.clips[row].id.encode()) for row in rows.tolist()))
        parts.append(networks.sample(networks.vqvae.quantizer.encode(features[rows].to(device)), noise).cpu())
    return torch.cat(parts)


def pictures_by_fold(runs: Mapping[str, Path], folds: Sequence[str], sounds: Manifest) -> list[np.ndarray | None]:
    """The picture (H, W, 3) uint8 imagined for each clip of `sounds` (M,) by the run of its fold (M,).

    None where that run is gone: its answers may have been kept without it.
    """
    pictures: list[np.ndarray | None] = [None] * len(sounds)
    for fold in dict.fromkeys(folds):
        run = runs.get(fold)
        if run is None or checkpoint.newest(run) is None:
            continue
        networks, trained = checkpoint.load_networks(run)
        places = [place for place, name in enumerate(folds) if name == fold]
        chosen = Manifest(sounds.name, sounds.root, tuple(sounds.clips[place] for place in places))
        features = sample(networks, imagine(networks, trained, chosen), chosen)
        with torch.inference_mode():
            decoded = to_uint8(networks.vqvae.decode(features))
        for place, picture in zip(places, decoded, strict=True):
            pictures[place] = np.ascontiguousarray(picture.transpose(1, 2, 0))
    return pictures


@dataclass(frozen=True)
class Judge:
    """A scene classifier over code vectors, with its accuracy on pictures it never saw."""

    network: nn.Module
    scenes: tuple[str, ...]
    accuracy: float = float("nan")

    @torch.no_grad()
    def probabilities(self, vectors: Tensor) -> np.ndarray:
        """vectors (M, D, 16, 16) -> (M, S)."""
        self.network.eval()
        parts = [torch.softmax(self.network(part).float(), 1) for part in vectors.split(256)]
        return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def code_side(networks: AVGAN, images: Manifest, scenes: tuple[str, ...], *, mirror: bool) -> tuple[Tensor, np.ndarray]:
    """Code vectors (P, V, D, 16, 16) of the photographs of these scenes, V views, with their scene numbers (P,)."""
    kept = images.select(lambda clip: clip.label in scenes)
    store, parts = ImageStore(kept, cache_bytes=0), []
    for rows in progress(torch.arange(len(kept)).split(BATCH_OF_PICTURES), f"encoding {len(kept)} photographs"):
        image = torch.from_numpy(store.get(rows.numpy())).float() / 255.0
        views = (image, image.flip(3)) if mirror else (image,)
        with torch.autocast("cpu", torch.bfloat16):
            vectors = [
                networks.vqvae.real_features(view.contiguous(memory_format=torch.channels_last)).vectors.half()
                for view in views
            ]
        parts.append(torch.stack(vectors, 1))
    return torch.cat(parts), np.array([scenes.index(clip.label) for clip in kept.clips])


def ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many scenes are likelier than the right one, (M,): scores (M, S), targets (M,)."""
    above: np.ndarray = (scores > scores[np.arange(len(targets)), targets][:, None]).sum(1)
    return above


def train_judge(
    train: tuple[Tensor, np.ndarray], test: tuple[Tensor, np.ndarray], scenes: tuple[str, ...], *, seed: int = 0
) -> Judge:
    """Train on (vectors (M, V, D, 16, 16) in V views, scene numbers (M,)) and measure on the same kind of pair."""
    network = train_reader(*train, num_scenes=len(scenes), num_epochs=NUM_EPOCHS, seed=seed)
    answers = Judge(network, scenes).probabilities(test[0][:, 0].float()).argmax(1)
    return Judge(network, scenes, float((answers == test[1]).mean()))


def train_reader(features: Tensor, targets: np.ndarray, *, num_scenes: int, num_epochs: float, seed: int) -> nn.Module:
    """A network with `forward(features (B, D, 16, 16)) -> logits (B, S)`, in evaluation mode.

    features (M, V, D, 16, 16), any float type; targets (M,) scene numbers.
    """

    def batch(items: np.ndarray, step: int) -> Tensor:
        views = generator_of(seed, "reader", step).integers(features.shape[1], size=len(items))
        vectors = features[items, views].float()
        return vectors + NOISE * torch.randn_like(vectors)

    return train_network(
        lambda: build_classifier(SIZES, features.shape[2], num_scenes),
        batch,
        targets,
        num_epochs=num_epochs,
        batch_size=BATCH,
        rate=LEARNING_RATE,
        seed=seed,
        stage="reader",
    )


def train_network(
    build: Callable[[], Network],
    inputs: Callable[[np.ndarray, int], Tensor],
    targets: np.ndarray,
    *,
    num_epochs: float,
    batch_size: int,
    rate: float,
    seed: int,
    stage: str,
    logits: Callable[[Network, Tensor], Any] = lambda network, batch: network(batch),
) -> Network:
    """A network of scenes, trained on (M,) items with scene numbers `targets`; in evaluation mode.

    `inputs` makes the batch of some items (B,) at a step. Repeatable, and leaves torch's own generator alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
        num_steps = int(num_epochs * len(targets) / batch_size)
        for step in progress(range(num_steps), f"learning to read {len(targets)} photographs"):
            items = indices_at(step, num_items=len(targets), batch_size=batch_size, seed=seed, stage=stage)
            optimizer.param_groups[0]["lr"] = rate * rate_factor("one_cycle", step, num_steps)
            batch = inputs(items, step)
            with torch.autocast("cpu", torch.bfloat16):
                answers = logits(network, batch)
            truth = torch.from_numpy(targets[items])
            loss = F.cross_entropy(answers.float(), truth, label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network.eval()
