"""Hear each recording once and keep what was heard, for stages that do not train the trunk.

Shapes: N recordings, V views, B batch, C = 1,024 + 16.
"""

import numpy as np
import torch
from torch import Tensor

from avgan.training.data import Recordings
from avgan.training.schedule import generator_of
from avgan.training.stage import Context

BATCH = 32


@torch.no_grad()
def hear_all(context: Context, recordings: Recordings, *, num_views: int) -> Tensor:
    """Views of each recording as the trunk hears them, (N, V, C). View 0 is as recorded, the others are shifted."""
    networks = context.networks
    networks.eval()
    heard = torch.empty(len(recordings), num_views, networks.generator.heard_size)
    for view in range(num_views):
        for start in range(0, len(recordings), BATCH):
            rows = np.arange(start, min(start + BATCH, len(recordings)))
            waveform = recordings.waveforms.get(rows)
            if view:
                waveform = shifted(waveform, rows, view, context.config.loop.seed)
            with context.fabric.autocast():
                log_mel = networks.log_mel(context.to_device(waveform))
                heard[rows, view] = networks.generator.hear(log_mel).float().cpu()
    networks.train()
    return heard


def shifted(waveform: np.ndarray, rows: np.ndarray, view: int, seed: int) -> np.ndarray:
    """waveform (B, L), each row rolled by its own amount."""
    amounts = [
        int(generator_of(seed, "view", view, int(row)).integers(waveform.shape[1])) for row in rows
    ]
    return np.stack([np.roll(wave, by) for wave, by in zip(waveform, amounts, strict=True)])
