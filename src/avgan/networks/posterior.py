"""Which noise a picture would have come from: features (B, D, 16, 16) -> mean and log-variance (B, Z).

Beyond the paper. Eq. 2's gamma term asks the one picture a generator imagines to equal each of the many pictures a
sound may have, and the best answer to that is their blurred mean. A generator with noise can do better, if in training
the noise is inferred from the very picture it is compared with (a conditional variational autoencoder, Sohn et al.
2015; joined with a critic as in Zhu et al. 2017). Used in training only.
"""

from torch import Tensor, nn


class Posterior(nn.Module):
    """features (B, D, 16, 16) -> mean (B, Z), log-variance (B, Z)."""

    def __init__(self, code_dim: int, noise_dim: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(code_dim, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * 4 * 4, 2 * noise_dim),
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.body(features).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 4.0)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from a standard normal, (B, Z) -> scalar, in nats a sample."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """The draw (B, Z) that standard normal noise (B, Z) picks; gradients reach mean and variance."""
    return mean + (0.5 * log_variance).exp() * noise
