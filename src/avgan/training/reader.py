"""Names the scene of a feature map, learnt from real pictures alone.

The paper's classifier takes "(real or imagined) features"; this is that network on the real ones. It serves twice: as
a guide that tells the generator when its picture does not look like the scene, and, trained anew on what is drawn and
with another seed, as the judge of imagined pictures.

Shapes: M pictures, V views (as it is, mirrored), D code dimension, S scenes.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.training.schedule import generator_of, indices_at, rate_factor

SIZES = ClassifierConfig(widths=(32, 64, 128, 256), dropout=0.3)
BATCH = 128
LEARNING_RATE = 2e-3


def train_reader(
    features: Tensor, targets: np.ndarray, *, num_scenes: int, num_epochs: float, seed: int
) -> nn.Module:
    """A network with `forward(features (B, D, 16, 16)) -> logits (B, S)`, in evaluation mode.

    features (M, V, D, 16, 16), any float type; targets (M,) scene numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_classifier(SIZES, features.shape[2], num_scenes)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
        num_steps = int(num_epochs * len(targets) / BATCH)
        for step in range(num_steps):
            items = indices_at(
                step, num_items=len(targets), batch_size=BATCH, seed=seed, stage="reader"
            )
            views = generator_of(seed, "reader", step).integers(features.shape[1], size=BATCH)
            factor = rate_factor("one_cycle", step, num_steps)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * factor
            batch = features[items, views].float()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch + 0.05 * torch.randn_like(batch))
            loss = F.cross_entropy(
                logits.float(), torch.from_numpy(targets[items]), label_smoothing=0.1
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network.eval()
