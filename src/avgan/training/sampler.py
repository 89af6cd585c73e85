"""Stage 4: a sampler learns which maps of real features belong to imagined ones; all other networks are at rest.

Recordings are imagined, and they and photographs turned into codes, once and beforehand; a step costs only the sampler.
It gets the vectors of the imagined features' codes: a linear reader finds the label in them as often as in the
features (91.0 and 90.8 % of ESC-50's fold 5, of a run of minutes), and a picture can so be rendered whenever somebody
asks from the codes that an answer keeps.
The loss is least squares on the direction of the straight line from noise to a picture's features.

Shapes: B batch, N labels, V views, M pictures, D code dimension.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import SamplerSection
from avgan.training.stage import PairedStage, Validation

BATCH = 64
"""Embeddings that are turned into codes at once."""
NUM_SHOWN = 12
"""Recordings in a sample sheet."""
NUM_SEEDS = 3
"""Pictures of each in a sample sheet."""
NUM_SETTLING = 2_000
"""Pictures that mean and spread of real features are taken from."""
UNCONDITIONAL = 0.1
"""Share of the conditions that are dropped in training a flow, as by the authors of its guidance (Ho and Salimans)."""


@dataclass(frozen=True)
class PairBatch:
    """A batch of imagined features, each with the real features of a picture."""

    imagined: Tensor
    """(B, D, 16, 16)"""
    logits: Tensor
    """(B, N) of the labels, as the classifier reads them from what is imagined."""
    real: Tensor
    """(B, D, 16, 16) quantised."""


class SamplerStage(PairedStage[SamplerSection]):
    """Steps of a rectified flow on pairs of imagined and real features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.networks.sampler is not None
        self.vqvae, self.generator, self.sampler = self.networks.vqvae, self.networks.generator, self.networks.sampler
        self.frozen = (self.vqvae, self.generator, self.networks.classifier)
        self.flip = self.section.flip
        self.optimizers["sampler"] = self.adam((self.sampler, self.section.learning_rate))
        self.keep_average(self.sampler)

    def prepare(self) -> None:
        """Imagine all recordings."""
        super().prepare()
        views = self.section.num_views
        embeddings = self.embed_all(views).flatten(0, 1)
        self.networks.eval()
        with torch.no_grad():
            parts = [self.vqvae.quantizer.encode(self.generator.imagine(part)) for part in embeddings.split(BATCH)]
        self.imagined = torch.cat(parts).unflatten(0, (-1, views))
        self.sampler.train()

    def before_first_step(self) -> None:
        """Encode the pictures, and give the sampler the statistics of both kinds of features."""
        encoded = self.encode_all()
        parts = [self.vqvae.quantizer.encode(rows.flatten(0, 1).float()) for rows in encoded.split(BATCH)]
        codes = torch.cat(parts).to(torch.int16).unflatten(0, (-1, 2))
        self.kept["codes"] = codes
        chosen = np.linspace(0, len(codes) - 1, min(NUM_SETTLING, len(codes))).astype(int)
        with torch.no_grad():
            real = self.vqvae.quantizer.decode(codes[self.to_device(chosen), 0].long())
            imagined = self.vqvae.quantizer.decode(self.imagined.flatten(0, 1))
            logits = self.networks.classifier(imagined)
        self.sampler.set_statistics(real, imagined, logits)

    def step(self, step: int) -> dict[str, Tensor]:
        """One step on a batch; the loss is 2 before anything is learnt."""
        batch, sampler = self.batch(step), self.sampler
        count = len(batch.real)
        real = (batch.real - sampler.real_mean) / sampler.real_spread
        noise = self.random_rows(torch.randn, *real.shape, step=step, purpose="flow")
        # logistic-normal: the middle of the way is where the direction is hardest to find (Esser et al. 2024)
        time = torch.sigmoid(self.random_rows(torch.randn, count, step=step, purpose="time"))
        dropped = self.random_rows(torch.rand, count, step=step, purpose="drop") < UNCONDITIONAL
        condition = sampler.reader(*sampler.given(batch.imagined, batch.logits), dropped)
        weight = time[:, None, None, None]
        found = sampler.velocity((1.0 - weight) * noise + weight * real, time, condition)
        loss = F.mse_loss(found.float(), real - noise)
        norm = self.descend("sampler", loss, step)
        self.update_average()
        return {"loss": loss.detach(), "gradient_norm": norm}

    def batch(self, step: int) -> PairBatch:
        """Imagined features of recordings, slightly changed, each with those of a picture of its scene."""
        items, chosen, flipped = self.sample_pairs(step)
        views = self.local(self.rng(step, "view").integers(self.section.num_views, size=self.section.batch_size))
        slots, sides = self.to_device(self.slots(chosen)), self.to_device(flipped.astype(np.int64))
        with torch.no_grad():
            imagined = self.vqvae.quantizer.decode(self.imagined[self.to_device(items), self.to_device(views)])
            real = self.vqvae.quantizer.decode(self.kept["codes"][slots, sides].long())
        if self.section.condition_noise:
            noise = self.random_rows(torch.randn, *imagined.shape, step=step, purpose="condition")
            imagined = imagined + self.section.condition_noise * self.sampler.imagined_spread * noise
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            logits = self.networks.classifier(imagined)
        return PairBatch(imagined, logits, real)

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Pictures of validation recordings (else of training ones): the first of each label, the first seeds."""
        recordings = self.data.validation if len(self.data.validation) else self.data.train
        labels = [clip.label for clip in recordings.clips]
        shown = np.array(sorted(labels.index(label) for label in set(labels))[:NUM_SHOWN])
        self.networks.eval()
        waveform = self.waveforms(recordings.waveforms, shown)
        codes = self.vqvae.quantizer.encode(self.generator(self.networks.log_mel(waveform)))
        rows = [self.vqvae.decode_codes(codes).float()]
        with self.averaged():
            for seed in range(NUM_SEEDS):
                sampled = self.networks.sample(codes, self.networks.noise(seed).expand(len(codes), -1))
                rows.append(self.vqvae.decode(sampled).float())
        self.sampler.train()
        real = self.batch(step).real
        metrics = {"relative_diversity": float(losses.diversity(sampled) / losses.diversity(real))}
        names = ("imagined", *(f"sampled, seed {seed}" for seed in range(NUM_SEEDS)))
        return Validation(metrics, torch.stack(rows), names)
