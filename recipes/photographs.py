"""The VQ-VAE that comes with the package, from photographs to its file.

    python recipes/photographs.py --data DATA --run runs/photographs --out src/avgan/networks/photographs.safetensors

DATA holds photographs in folders named by their scene (`avgan data list` says where to get them). It is stage 1 of the
preset pictures_small, an hour and a half of two cores. Run again, it goes on where it was stopped. What was learnt from
other codes does not fit new ones: train the shipped bundles anew after it.
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import save_file

from avgan import checkpoint
from avgan.presets import preset
from avgan.training.run import train_run


def main() -> None:
    """Train, save in half precision with what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    run = train_run(preset("pictures_small").run("vqvae"), data=arguments.data, out=arguments.run)
    networks, described = checkpoint.load_networks(run)
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in networks.vqvae.state_dict().items()
    }
    save_file(weights, arguments.out, metadata={"measured": json.dumps(described.measured)})
    arguments.out.chmod(0o644)  # the library writes for the owner alone
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes; {described.measured}")


if __name__ == "__main__":
    main()
