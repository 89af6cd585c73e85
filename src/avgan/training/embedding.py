"""Embed each recording once and keep the result, for stages that do not train the trunk.

Shapes: N recordings, V views, B batch, L samples, C embedding.
"""

import numpy as np
import torch
from torch import Tensor

from avgan.training.data import Recordings
from avgan.training.schedule import generator_of
from avgan.training.stage import Context

BATCH = 32


@torch.no_grad()
def embed_all(context: Context, recordings: Recordings, *, num_views: int) -> Tensor:
    """Views of each recording as the trunk embeds them, (N, V, C) on the training device.

    View 0 is as recorded, the others are shifted.
    """
    networks = context.networks
    networks.eval()
    size = networks.generator.embedding_size
    embeddings = torch.empty(len(recordings), num_views, size, device=context.device)
    for view in range(num_views):
        for start in range(0, len(recordings), BATCH):
            rows = np.arange(start, min(start + BATCH, len(recordings)))
            waveform = context.waveforms(recordings.waveforms, rows)
            if view:
                waveform = rolled(
                    waveform, shifts(rows, view, waveform.shape[1], context.config.loop.seed)
                )
            with context.fabric.autocast():
                log_mel = networks.log_mel(waveform)
                block = networks.generator.embed(log_mel).float()
            embeddings[start : start + len(rows), view] = block
    networks.train()
    return embeddings


def shifts(rows: np.ndarray, view: int, length: int, seed: int) -> np.ndarray:
    """By how many samples each recording is shifted in a view, (B,)."""
    return np.array([generator_of(seed, "view", view, int(row)).integers(length) for row in rows])


def rolled(waveform: Tensor, amounts: np.ndarray) -> Tensor:
    """waveform (B, L), each row rolled by its own amount (B,)."""
    rows = zip(waveform, amounts.tolist(), strict=True)
    return torch.stack([wave.roll(amount) for wave, amount in rows])
