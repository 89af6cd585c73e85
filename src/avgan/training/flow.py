"""How a flow is taught: maps between noise and real features, and the straight line that joins the two.

Shapes: B batch, D code dimension.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan.networks.samplers.flow import FlowSampler
from avgan.training.pairs import Drawn
from avgan.training.stage import Stage


class FlowLesson:
    """Least squares on the direction from noise to a picture's features."""

    def __init__(self, stage: Stage, sampler: FlowSampler) -> None:
        self.stage = stage
        self.sampler = sampler
        stage.optimizers["sampler"] = stage.adam((sampler, stage.section.learning_rate))

    def step(self, batch: Drawn, step: int) -> dict[str, Tensor]:
        """One step on a batch."""
        loss = self.loss(batch, step)
        norm = self.stage.descend("sampler", loss, (self.sampler,), step)
        return {"loss": loss.detach(), "gradient_norm": norm}

    def loss(self, batch: Drawn, step: int) -> Tensor:
        """Mean square error of the direction, 2 before anything is learnt."""
        sampler, stage, count = self.sampler, self.stage, len(batch.real)
        real = (batch.real - sampler.real_mean) / sampler.real_spread
        noise = stage.random_rows(torch.randn, *real.shape, step=step, purpose="flow")
        # logistic-normal: the middle of the way is where the direction is hardest to tell (Esser et al. 2024)
        time = torch.sigmoid(stage.random_rows(torch.randn, count, step=step, purpose="time"))
        draws = stage.random_rows(torch.rand, count, step=step, purpose="drop")
        heard = sampler.reader(sampler.told(batch.imagined), draws < sampler.config.drop_condition)
        weight = time[:, None, None, None]
        found = sampler.velocity((1.0 - weight) * noise + weight * real, time, heard)
        return F.mse_loss(found.float(), real - noise)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing beside what the stage keeps."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take in."""
