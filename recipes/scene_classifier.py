"""The scene classifier that scores pictures, from photographs to its file.

    python recipes/scene_classifier.py --data DATA --out src/avgan/evaluation/pictures/scene_classifier.safetensors
    python recipes/scene_classifier.py --data DATA --make second --images photographs \
        --out src/avgan/evaluation/pictures/second_scene_classifier.safetensors

DATA holds MiniPlaces, and for `--images photographs` further folders of photographs beside it. A classifier is taught
all its scenes by the training photographs and measured on the validation ones, which it prints. About five minutes on a
core that is shared. New weights make new FID and KID: keep those in the package unless there is a reason. The second
one is of another make and another seed.
"""

import argparse
from pathlib import Path

import numpy as np

from avgan.data.datasets import find
from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.evaluation.pictures.scene_classifier import MAKES, load_classifier, save_classifier, train_classifier
from avgan.training.data import divide_images


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=7.0)
    parser.add_argument("--make", choices=tuple(MAKES), default="first")
    parser.add_argument("--images", choices=("miniplaces", "photographs"), default="miniplaces")
    arguments = parser.parse_args()
    images = find(arguments.data, arguments.images)
    scenes = images.labels
    train, test = (
        (small(side, MAKES[arguments.make].size_px), np.array([scenes.index(clip.label) for clip in side.clips]))
        for side in divide_images(images)
    )
    network = train_classifier(
        *train,
        num_scenes=len(scenes),
        num_epochs=arguments.epochs,
        make=arguments.make,
        seed=list(MAKES).index(arguments.make),
    )
    save_classifier(network, scenes, arguments.out)
    classifier = load_classifier(arguments.out)
    right = classifier.apply(test[0]).logits.argmax(1) == test[1]
    print(f"{classifier.sha256}: {100 * right.mean():.1f} % of {len(right)} photographs, {len(scenes)} scenes")


def small(images: Manifest, size_px: int) -> np.ndarray:
    """All pictures at a classifier's size, (M, 3, size_px, size_px) uint8: means over squares of pixels."""
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
