"""What comes with the package of photographs: the VQ-VAE, and the prior that samplers begin from.

    python recipes/photographs.py --data DATA --run runs/photographs --out src/avgan/networks

DATA holds photographs in folders named by their scene (`avgan data list` says where to get them). No sound is learnt
from. Both are for two CPU cores: an hour and a half, and half an hour. Run again, it goes on where it was stopped. What
was learnt from other codes does not fit new ones: train the shipped bundles anew after it.

    RUN/vqvae/  prior/
    OUT/photographs.safetensors  samplers/photographs.safetensors
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from avgan import checkpoint
from avgan.config import RunConfig
from avgan.presets import PRIOR, preset
from avgan.training.run import train_run

NAME = "photographs.safetensors"


def main() -> None:
    """Train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=PRIOR.num_steps, help="of the prior")
    arguments = parser.parse_args()
    recipe = preset("pictures_small")
    vqvae = train_run(recipe.run("vqvae"), data=arguments.data, out=arguments.run / "vqvae")
    save(checkpoint.load_networks(vqvae)[0].vqvae, vqvae, arguments.out / NAME)
    config = RunConfig(preset="prior", stage=PRIOR.changed(num_steps=arguments.steps), loop=recipe.loop)
    prior = train_run(config, data=arguments.data, out=arguments.run / "prior", parent=vqvae)
    sampler = checkpoint.load_networks(prior)[0].sampler
    assert sampler is not None
    save(sampler, prior, arguments.out / "samplers" / NAME)


def save(network: nn.Module, run: Path, path: Path) -> None:
    """In half precision, with what the run measured."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    described = checkpoint.describe(run)
    save_file(weights, path, metadata={"measured": json.dumps(described.measured), "steps": str(described.step)})
    path.chmod(0o644)  # the library writes for the owner alone
    print(f"{path}: {path.stat().st_size:,} bytes; {described.measured}")


if __name__ == "__main__":
    main()
