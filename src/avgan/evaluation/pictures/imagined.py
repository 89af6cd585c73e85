"""What a run imagines for recordings: feature maps of all, and drawings of a few by the run that never heard them.

Shapes: M clips, D code dimension, H W pixels.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.data.loading import WaveformStore
from avgan.data.manifest import Manifest
from avgan.model import AVGAN
from avgan.training.log import to_uint8

BATCH = 32


@torch.inference_mode()
def imagine(networks: AVGAN, trained: Checkpoint, sounds: Manifest) -> Tensor:
    """The imagined features of all clips, (M, D, 16, 16)."""
    device = next(networks.parameters()).device
    store = WaveformStore(
        sounds,
        rate_hz=trained.front_end.sample_rate_hz,
        window_s=trained.window_s,
        cache_bytes=0,
    )
    parts = []
    for start in range(0, len(sounds), BATCH):
        rows = np.arange(start, min(start + BATCH, len(sounds)))
        waveform = torch.from_numpy(store.get(rows)).to(device)
        parts.append(networks.generator(networks.log_mel(waveform)).cpu())
    return torch.cat(parts)


@torch.inference_mode()
def sample(networks: AVGAN, features: Tensor, sounds: Manifest) -> Tensor:
    """The maps (M, D, 16, 16) that are drawn of the imagined features of clips: the first draw of each.

    Each clip has noise of its own, by its id; without a sampler the features themselves are drawn.
    """
    if networks.sampler is None:
        return features
    device = next(networks.parameters()).device
    parts = []
    for start in range(0, len(features), BATCH):
        clips = sounds.clips[start : start + BATCH]
        noise = networks.noise(*(zlib.crc32(clip.id.encode()) for clip in clips))
        codes = networks.vqvae.quantizer.encode(features[start : start + BATCH].to(device))
        parts.append(networks.sample(codes, noise).cpu())
    return torch.cat(parts)


def draw_chosen(
    runs: Mapping[str, Path], folds: Sequence[str], sounds: Manifest
) -> list[np.ndarray | None]:
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
            drawn = to_uint8(networks.vqvae.draw(features))
        for place, picture in zip(places, drawn, strict=True):
            pictures[place] = np.ascontiguousarray(picture.transpose(1, 2, 0))
    return pictures
