"""Pictures to low-dimensional discrete features and back (Sec. 3.1, Fig. 3).

    image (B, 3, 128, 128) -> Encoder -> features (B, D, 16, 16) in [-1, 1]
                           -> VectorQuantizer -> codes (B, 16, 16), real features (B, D, 16, 16)
                           -> Decoder -> image (B, 3, 128, 128)

Decisions: three stride-2 convolutions bring 128 px to 16; the encoder ends in tanh, because the generator that must
meet it does; the codebook is a parameter trained by the second term of Eq. 1; the quantiser counts its own use, so
dead codes and perplexity are its to report and dead codes its to revive. Encoder and decoder are the paper's (`plain`)
or those of `networks.residual`; whichever the configuration makes.

Shapes: B batch, D code dimension, H W grid, K codes, N vectors.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class CodingConfig(Protocol):
    """What a VQ-VAE is made of: how many codes of how many numbers, and the networks before and behind them."""

    @property
    def code_dim(self) -> int: ...

    @property
    def num_codes(self) -> int: ...

    def encoder(self) -> nn.Module:
        """image (B, 3, H, W) in [0, 1] -> features (B, D, H / 8, W / 8) in [-1, 1]."""

    def decoder(self) -> nn.Module:
        """features (B, D, H, W) -> image (B, 3, 8 H, 8 W), near [0, 1]."""

    def weights(self) -> dict[str, Tensor] | None:
        """Of the whole VQ-VAE, where some come with the package."""


DEAD = 0.03
"""A code is dead when its share of use is below this part of an equal share."""


class VQVAEConfig(BaseModel):
    """Sizes of the paper's encoder, codebook and decoder; the defaults are the paper's too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["plain"] = "plain"
    width: int = Field(128, gt=1)
    """Filters of every convolution inside, residual blocks included."""
    num_residual_blocks: int = Field(4, ge=0)
    code_dim: int = Field(1, gt=0)
    num_codes: int = Field(16, gt=1)

    def encoder(self) -> nn.Module:
        return Encoder(self)

    def decoder(self) -> nn.Module:
        return Decoder(self)

    def weights(self) -> None:
        return None


class ResidualBlock(nn.Module):
    """ReLU, 3 x 3, ReLU, 1 x 1, added to its input; shapes stay."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.body(hidden)


class Encoder(nn.Sequential):
    """image (B, 3, H, W) in [0, 1] -> features (B, D, H / 8, W / 8) in [-1, 1]."""

    def __init__(self, config: VQVAEConfig) -> None:
        width = config.width
        super().__init__(
            nn.Conv2d(3, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(config.num_residual_blocks)),
            nn.ReLU(),
            nn.Conv2d(width, config.code_dim, 1),
            nn.Tanh(),
        )


class Decoder(nn.Sequential):
    """features (B, D, H, W) -> image (B, 3, 8 H, 8 W), near [0, 1] and not clipped, so that its gradient lives."""

    def __init__(self, config: VQVAEConfig) -> None:
        width = config.width
        super().__init__(
            nn.Conv2d(config.code_dim, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(config.num_residual_blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, 3, 4, stride=2, padding=1),
        )


@dataclass(frozen=True)
class Quantized:
    """What the quantiser makes of features (B, D, H, W)."""

    codes: Tensor
    """(B, H, W) integers in [0, K)."""
    vectors: Tensor
    """(B, D, H, W) the codebook's vectors e; gradients reach the codebook alone."""
    features: Tensor
    """(B, D, H, W) equal to `vectors`, but gradients pass straight to the input (straight-through)."""


@dataclass(frozen=True)
class CodebookHealth:
    """How well the codebook is used, from the running counts."""

    perplexity: float
    """exp of the entropy of code use: K when all are used alike, 1 when one code has taken all."""
    used: float
    """Share of codes in use."""
    num_dead: int


class VectorQuantizer(nn.Module):
    """Nearest code of a codebook (K, D), with a straight-through gradient.

    Buffers:
        usage (K,): running share of the positions that chose each code; sums to 1.
    """

    usage: Tensor

    def __init__(self, num_codes: int, code_dim: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(initial_codebook(num_codes, code_dim))
        self.register_buffer("usage", torch.full((num_codes,), 1.0 / num_codes))

    def forward(self, features: Tensor) -> Quantized:
        codes = self.encode(features)
        vectors = self.decode(codes)
        return Quantized(codes, vectors, features + (vectors - features).detach())

    def encode(self, features: Tensor) -> Tensor:
        """(B, D, H, W) -> codes (B, H, W) of the nearest vectors."""
        codebook = self.codebook.detach()
        flat = features.detach().movedim(1, -1).to(codebook.dtype)
        # in bfloat16 the nearest of many codes would be another one
        with torch.autocast(features.device.type, enabled=False):
            # |x - e|^2 without |x|^2, which is the same for every code
            distance = codebook.square().sum(1) - 2.0 * torch.matmul(flat, codebook.T)
            return distance.argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, H, W) -> vectors (B, D, H, W)."""
        return F.embedding(codes, self.codebook).movedim(-1, 1)

    def count(self, codes: Tensor) -> Tensor:
        """How often each code occurs, (K,) float."""
        flat = codes.flatten()
        # a bincount would ask an accelerator for the largest code, and wait for the answer
        return torch.zeros_like(self.usage).index_add_(0, flat, torch.ones_like(flat, dtype=torch.float32))

    @torch.no_grad()
    def track(self, counts: Tensor, decay: float = 0.98) -> None:
        """Update the running usage with the counts (K,) of one step, over all processes."""
        self.usage.lerp_(counts / counts.sum().clamp(min=1.0), 1.0 - decay)

    @torch.no_grad()
    def revive(self, candidates: Tensor) -> Tensor:
        """Put dead codes on encoder outputs. Returns the mask (K,) of the codes that were moved.

        candidates (N, D), N >= K, are taken in order, so the same candidates revive the same codes on every process.
        """
        dead = self.usage < DEAD / len(self.usage)
        num_dead = int(dead.sum())
        if num_dead:
            self.codebook[dead] = candidates[:num_dead].to(self.codebook)
            self.usage[dead] = 1.0 / len(self.usage)
        return dead

    def health(self) -> CodebookHealth:
        dead = self.usage / self.usage.sum() < DEAD / len(self.usage)
        return CodebookHealth(float(perplexity(self.usage)), float((~dead).float().mean()), int(dead.sum()))


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of counts (K,) or shares, ()."""
    share = counts / counts.sum()
    return (-(share * share.clamp(min=1e-12).log()).sum()).exp()


def initial_codebook(num_codes: int, code_dim: int) -> Tensor:
    """(K, D): scalars on an even line from -0.9 to 0.9, vectors spread evenly inside the encoder's range."""
    if code_dim == 1:
        return torch.linspace(-0.9, 0.9, num_codes)[:, None]
    sobol = torch.quasirandom.SobolEngine(code_dim, scramble=True, seed=0)
    return sobol.draw(num_codes) * 1.2 - 0.6


class VQVAE(nn.Module):
    """Encoder, quantiser and decoder together.

    Buffers:
        image_variance (): variance of the training pictures, the delta_v of Eq. 1 and 2.
    """

    image_variance: Tensor

    def __init__(self, config: CodingConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.encoder()
        self.quantizer = VectorQuantizer(config.num_codes, config.code_dim)
        self.decoder = config.decoder()
        self.register_buffer("image_variance", torch.tensor(1.0))
        if (weights := config.weights()) is not None:
            self.load_state_dict(weights)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Quantized]:
        """image (B, 3, H, W) -> reconstruction, encoder features before quantisation, quantised features."""
        features = self.encoder(image).float()
        quantized = self.quantizer(features)
        return self.decoder(quantized.features), features, quantized

    def real_features(self, image: Tensor) -> Quantized:
        """image (B, 3, H, W) -> the paper's real features."""
        quantized: Quantized = self.quantizer(self.encoder(image).float())
        return quantized

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, D, H, W), real or imagined -> image (B, 3, 8 H, 8 W) in [0, 1], through the nearest codes."""
        return self.decode_codes(self.quantizer.encode(features))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """codes (B, H, W) -> image (B, 3, 8 H, 8 W) in [0, 1]."""
        image: Tensor = self.decoder(self.quantizer.decode(codes)).clamp(0.0, 1.0)
        return image
