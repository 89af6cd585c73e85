"""The eye that scores pictures, from photographs to its file.

    python recipes/eye.py --data DATA --out src/avgan/evaluation/pictures/eye.safetensors
    python recipes/eye.py --data DATA --make second --images photographs \
        --out src/avgan/evaluation/pictures/second_eye.safetensors

DATA holds MiniPlaces, and for `--images photographs` further folders of photographs beside it. An eye is taught all
its scenes by the training photographs and measured on the validation ones, which it prints. About five minutes on a
core that is shared. A new eye makes new FID and KID: keep the one in the package unless there is a reason. The second
eye is of another make and another seed.
"""

import argparse
from pathlib import Path

import numpy as np

from avgan.data.datasets import find
from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.evaluation.pictures import eye as first_eye
from avgan.evaluation.pictures import second_eye
from avgan.evaluation.pictures.eye import MAKES, load_eye, save_eye, train_eye
from avgan.training.data import divide_images

SIZES_PX = {"first": first_eye.SIZE_PX, "second": second_eye.SIZE_PX}


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=7.0)
    parser.add_argument("--make", choices=tuple(MAKES), default="first")
    parser.add_argument("--images", choices=("miniplaces", "photographs"), default="miniplaces")
    arguments = parser.parse_args()
    images = find(arguments.data, arguments.images)
    scenes = images.labels
    train, test = (
        (
            small(side, SIZES_PX[arguments.make]),
            np.array([scenes.index(clip.label) for clip in side.clips]),
        )
        for side in divide_images(images)
    )
    network = train_eye(
        *train,
        num_scenes=len(scenes),
        num_epochs=arguments.epochs,
        make=arguments.make,
        seed=list(MAKES).index(arguments.make),
    )
    save_eye(network, scenes, arguments.out)
    eye = load_eye(arguments.out)
    right = eye.look(test[0]).logits.argmax(1) == test[1]
    print(
        f"{eye.sha256}: {100 * right.mean():.1f} % of {len(right)} photographs, {len(scenes)} scenes"
    )


def small(images: Manifest, size_px: int) -> np.ndarray:
    """All pictures at an eye's size, (M, 3, size_px, size_px) uint8: means over squares of pixels."""
    store = ImageStore(images, cache_bytes=0)
    parts = []
    for start in range(0, len(images), 64):
        pixels = store.get(np.arange(start, min(start + 64, len(images)))).astype(np.float32)
        factor = pixels.shape[2] // size_px
        blocks = pixels.reshape(len(pixels), 3, size_px, factor, size_px, factor)
        parts.append(np.rint(blocks.mean((3, 5))).astype(np.uint8))
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
