"""What the stages share: networks, optimisers, the batch of a step, and what the loop asks of them.

A stage owns what it trains and says what one step does; the loop owns time, disk, logging and ranks.

Shapes: B batch, N recordings, V views, M pictures, C embedding, L samples.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avgan.config import RunConfig, StageSection
from avgan.data.loading import INT16_PEAK, ImageStore, WaveformStore
from avgan.data.manifest import Clip
from avgan.errors import AvganError
from avgan.files import write_whole
from avgan.model import AVGAN
from avgan.training import distributed
from avgan.training.average import MovingAverage
from avgan.training.data import TrainingData
from avgan.training.progress import progress
from avgan.training.schedule import generator_of, indices_at, rate_factor, share_of_process

EMBED_BATCH = 32
"""Recordings embedded at once: more take memory and are no faster."""
ENCODE_BATCH = 64
"""Pictures encoded at once."""
RESIDENT_SHARE = 0.5
"""Of an accelerator's free memory, for data that stays there: the rest is for networks and activations."""
BLOCK = 256
"""Rows moved to an accelerator at once, when all are."""

Section = TypeVar("Section", bound=StageSection)


@dataclass(frozen=True)
class Validation:
    """What a stage shows of itself: numbers, and rows of pictures (R, C, 3, H, W) in [0, 1]."""

    metrics: dict[str, float]
    grid: Tensor | None = None
    row_names: tuple[str, ...] = ()


@dataclass(eq=False, repr=False)
class Stage(ABC, Generic[Section]):
    """One of the stages. A subclass fills in `__post_init__` what stands below the first four fields."""

    config: RunConfig
    networks: AVGAN
    data: TrainingData
    fabric: Fabric
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict, init=False)
    average: MovingAverage | None = field(default=None, init=False)
    """Of the weights that are kept at the end."""
    auxiliary: dict[str, nn.Module] = field(default_factory=dict, init=False)
    """Networks of the stage itself, which are no part of the model."""
    kept: dict[str, Tensor] = field(default_factory=dict, init=False)
    """What is computed once in the life of the stage, before its first step."""
    frozen: tuple[nn.Module, ...] = field(default=(), init=False)
    """Networks of the model that the stage only uses."""
    beside_vqvae: Path | None = field(default=None, init=False)
    """Folder for what all runs that begin from the same VQ-VAE need."""
    resident: dict[int, Tensor | None] = field(default_factory=dict, init=False)
    """All rows of a store on the accelerator, by the store's identity; None where they do not fit."""

    def __post_init__(self) -> None:
        self.section = cast(Section, self.config.stage)
        self.name, self.seed, self.device = self.section.kind, self.config.loop.seed, self.fabric.device

    @property
    def num_items(self) -> int:
        """How many items an epoch has."""
        return len(self.data.train)

    # What the loop asks of a stage

    def prepare(self) -> None:
        """Work before the first step, and again before the first step after a resume."""
        for network in self.frozen:
            network.requires_grad_(False)

    def before_first_step(self) -> None:
        """Work once in the life of the stage; what it keeps belongs to the state."""

    def prefetch(self, step: int) -> None:
        """Begin to read what a step will need, while the one before it computes."""

    @abstractmethod
    def step(self, step: int) -> dict[str, Tensor]:
        """Do one step and return its metrics."""

    @abstractmethod
    def validate(self, step: int) -> Validation:
        """Look at what has been learnt."""

    def finish(self) -> None:
        """Work after the last step: keep the averaged weights."""
        if self.average is not None:
            self.average.put(self.average.weights())
        for network in self.frozen:
            network.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint has of the stage beside the model."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "auxiliary": {name: network.state_dict() for name, network in self.auxiliary.items()},
            "kept": self.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name, network in self.auxiliary.items():
            network.load_state_dict(state["auxiliary"][name])
        self.kept = {name: value.to(self.device) for name, value in state["kept"].items()}

    # Optimisers and averages

    def adam(self, *groups: tuple[nn.Module, float]) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay over (network, learning rate) groups, with the section's settings."""
        return torch.optim.AdamW(
            [{"params": list(network.parameters()), "lr": rate, "initial_lr": rate} for network, rate in groups],
            betas=self.section.betas,
            weight_decay=self.section.weight_decay,
        )

    def descend(self, name: str, loss: Tensor, step: int) -> Tensor:
        """Minimise a loss by one step of the named optimiser. Returns the gradient's norm."""
        optimizer = self.optimizers[name]
        factor = rate_factor(self.section.schedule, step, self.section.num_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        distributed.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.section.clip_norm or float("inf"))
        optimizer.step()
        return norm

    def keep_average(self, *networks: nn.Module) -> None:
        """Keep the moving average of these, where the section asks for one."""
        if self.section.ema_decay:
            self.average = MovingAverage(networks, self.section.ema_decay)

    def update_average(self) -> None:
        """Add the weights of this step to the average."""
        if self.average is not None:
            self.average.update()

    def averaged(self) -> AbstractContextManager[None]:
        """The networks have their averaged weights inside."""
        return nullcontext() if self.average is None else self.average.applied()

    # Randomness and the items of a batch

    def rng(self, step: int, purpose: str) -> np.random.Generator:
        """Randomness of a step, the same in all processes: draw for the whole batch, then take the `local` rows."""
        return generator_of(self.seed, self.name, purpose, step)

    def local(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of what was drawn for the whole batch."""
        return share_of_process(rows, *distributed.world())

    def indices(self, step: int) -> np.ndarray:
        """Items of this process in the batch of a step."""
        size = self.section.batch_size
        return self.local(indices_at(step, num_items=self.num_items, batch_size=size, seed=self.seed, stage=self.name))

    def random_rows(self, sample: Callable[..., Tensor], count: int, *size: int, step: int, purpose: str) -> Tensor:
        """Random numbers (count, *size) of `sample`: this process's rows of what one process alone would get."""
        rank, num_processes = distributed.world()
        number = self.rng(step, purpose).integers(2**62)
        generator = torch.Generator(self.device).manual_seed(int(number))
        rows = sample(num_processes * count, *size, generator=generator, device=self.device)
        return rows[rank * count : (rank + 1) * count]

    # Data on the training device

    def to_device(self, array: np.ndarray) -> Tensor:
        """A numpy array as a tensor on the training device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def images(self, store: ImageStore, indices: np.ndarray) -> Tensor:
        """Pictures (B, 3, H, W), float in [0, 1]."""
        image = self._rows(store, store.get, indices).float() / 255.0
        return image.contiguous(memory_format=torch.channels_last) if self.config.loop.channels_last else image

    def waveforms(self, store: WaveformStore, indices: np.ndarray) -> Tensor:
        """Waveforms (B, L), float in [-1, 1]."""
        return self._rows(store, store.raw, indices).float() / INT16_PEAK

    def _rows(
        self, store: ImageStore | WaveformStore, read: Callable[[np.ndarray], np.ndarray], indices: np.ndarray
    ) -> Tensor:
        """Rows of a store: from an accelerator's own memory where all of them fit, else read and moved."""
        if self.device.type != "cuda":
            return self.to_device(read(indices))
        if id(store) not in self.resident:
            first = torch.from_numpy(read(np.arange(1)))
            free, _ = torch.cuda.mem_get_info(self.device)
            rows = None
            if first.nbytes * len(store) <= RESIDENT_SHARE * free:
                rows = torch.empty(len(store), *first.shape[1:], dtype=first.dtype, device=self.device)
                for block in chunks(np.arange(len(store)), BLOCK):
                    rows[block[0] : block[-1] + 1] = self.to_device(read(block))
            self.resident[id(store)] = rows
        everything = self.resident[id(store)]
        return self.to_device(read(indices)) if everything is None else everything[self.to_device(indices)]

    @torch.no_grad()
    def embed_all(self, num_views: int) -> Tensor:
        """Views of each recording as the trunk embeds them, (N, V, C): the first as recorded, the others shifted.

        In single precision: mn04's convolutions of single channels are slower in bf16 on a CPU.
        """
        self.networks.eval()
        generator, count = self.networks.generator, len(self.data.train)
        embeddings = torch.empty(count, num_views, generator.embedding_size, device=self.device)
        for view in range(num_views):
            for rows in progress(chunks(np.arange(count), EMBED_BATCH), f"embedding {count} recordings"):
                waveform = self.waveforms(self.data.train.waveforms, rows)
                if view:
                    length = waveform.shape[1]
                    shifts = [generator_of(self.seed, "view", view, int(row)).integers(length) for row in rows]
                    waveform = rolled(waveform, np.array(shifts))
                with torch.autocast(self.device.type, enabled=False):
                    embeddings[rows[0] : rows[-1] + 1, view] = generator.embed(self.networks.log_mel(waveform))
        self.networks.train()
        return embeddings


class PairedStage(Stage[Section]):
    """A stage that learns from sounds shown with pictures."""

    flip: bool
    """Whether half of the pictures are mirrored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pairing = self.data.pairing
        self.scenes = tuple(sorted(set(self.data.scene_of_clip.values())))

    @cached_property
    def used(self) -> np.ndarray:
        """(M,) the pictures that some sound may be shown with."""
        return np.unique(np.concatenate(self.data.pairing.image_choices))

    def scene_numbers(self, clips: Sequence[Clip]) -> np.ndarray:
        """The number of each clip's scene, (number of clips,)."""
        number = {scene: index for index, scene in enumerate(self.scenes)}
        return np.array([number[self.data.scene_of_clip[clip.id]] for clip in clips], dtype=np.int64)

    def sample_pairs(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of this process's rows in batch `number`: sounds, a picture for each, whether that is mirrored; all (B,)."""
        items = self.indices(number)
        rng, size = self.rng(number, "pair"), self.section.batch_size
        shares, sides = self.local(rng.random(size)), self.local(rng.random(size))
        return items, self.pairing.pick(items, shares), sides < (0.5 if self.flip else 0.0)

    def slots(self, images: np.ndarray) -> np.ndarray:
        """Where pictures stand in `used`."""
        return np.searchsorted(self.used, images)

    @torch.no_grad()
    def encode_all(self) -> Tensor:
        """All pictures of `used` as the encoder makes them, each as it is and mirrored: (M, 2, D, 16, 16) float16.

        Thousands take minutes, so they are kept beside the VQ-VAE for all runs that begin from it.
        """
        known = None if self.beside_vqvae is None else self.beside_vqvae / f"{self._encoded_name()}.safetensors"
        if known is not None and known.is_file():
            with suppress(OSError, SafetensorError):  # damaged: encoded anew
                return load_file(known)["encoded"].to(self.device)
        parts = []
        for rows in progress(chunks(self.used, ENCODE_BATCH), f"encoding {len(self.used)} pictures"):
            image = self.images(self.data.images, rows)
            with self.fabric.autocast():
                views = [self.networks.vqvae.encoder(view).half() for view in (image, image.flip(3))]
            parts.append(torch.stack(views, 1))  # outside: autocast does not stack half precision
        encoded = torch.cat(parts)
        if known is not None and distributed.is_first():
            with suppress(AvganError):  # the folder may be another's: then the next run encodes them, too
                write_whole(known, save({"encoded": encoded.cpu()}))
        return encoded

    def _encoded_name(self) -> str:
        """Hash of what encoded pictures depend on: weights, pictures, device and precision."""
        digest = hashlib.sha256(self.data.images.sha256(self.used).encode())
        kind = self.device.type
        with self.fabric.autocast():
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        digest.update(f"{kind} {dtype}".encode())
        for weight in self.networks.vqvae.encoder.state_dict().values():
            digest.update(weight.detach().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in their order, so many at a time; the last may be fewer."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def mirrored(image: Tensor, which: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), those of the mask (B,) mirrored."""
    return torch.where(which[:, None, None, None], image.flip(3), image)


def rolled(waveform: Tensor, amounts: np.ndarray) -> Tensor:
    """waveform (B, L), each row rolled by its own amount (B,)."""
    return torch.stack([wave.roll(amount) for wave, amount in zip(waveform, amounts.tolist(), strict=True)])
