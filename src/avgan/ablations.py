"""What each part of the method is worth: presets with one thing taken away or changed, two lines each."""

from dataclasses import dataclass

from avgan.config import Recipe, override
from avgan.presets import preset


@dataclass(frozen=True)
class Ablation:
    """A recipe with other settings, and the question that they answer."""

    asks: str
    settings: dict[str, str]
    base: str = "transfer"

    def recipe(self) -> Recipe:
        """The whole recipe."""
        return override(preset(self.base), self.settings)


ABLATIONS: dict[str, Ablation] = {
    "frozen": Ablation(
        "is the label to be had from features that were only taught to imagine (the paper's third stage)?",
        {"classifier.mode": "frozen", "classifier.mixup": "0"},
    ),
    "no-imagination": Ablation(
        "does it help to imagine before naming?",
        {"imagination.num_steps": "0"},
    ),
    "shuffled-pairs": Ablation(
        "is it the right pictures that help, or any?",
        {"imagination.data.pairs": "shuffled"},
    ),
    "strong-pairs": Ablation(
        "are pictures of a place worth showing where the sound says little of it?",
        {"imagination.data.pairs": "strong"},
    ),
    "no-critic": Ablation(
        "what does the critic add to the reconstruction?",
        {"imagination.adversarial_weight": "0"},
    ),
    "gamma-0": Ablation(
        "what does the reconstruction add to the critic?",
        {"imagination.gamma": "0"},
    ),
    "no-minibatch": Ablation(
        "is minibatch discrimination needed against collapse?",
        {"imagination.critic.num_kernels": "0"},
    ),
    "codes-8": Ablation("how many codes?", {"vqvae.network.num_codes": "8"}),
    "codes-16": Ablation("how many codes (the paper's)?", {"vqvae.network.num_codes": "16"}),
    "codes-64": Ablation("how many codes?", {"vqvae.network.num_codes": "64"}),
    "codes-512": Ablation("how many codes?", {"vqvae.network.num_codes": "512"}),
    "code-dim-1": Ablation(
        "how many numbers a code (the paper's)?",
        {"vqvae.network.code_dim": "1"},
    ),
    "code-dim-16": Ablation("how many numbers a code?", {"vqvae.network.code_dim": "16"}),
}
"""By name. `compact` tells what the trunk is worth, `cnn9`, which hears the log-mel itself, what imagining is."""
