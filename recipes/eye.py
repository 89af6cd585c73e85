"""The eye that scores pictures, from photographs to its file.

    python recipes/eye.py --data DATA --out src/avgan/evaluation/pictures/eye.safetensors

DATA holds MiniPlaces. It is taught all its scenes by the training photographs and measured on the validation ones,
which it prints. About five minutes on a core that is shared. A new eye makes new FID and KID: keep the one in the
package unless there is a reason.
"""

import argparse
from pathlib import Path

import numpy as np

from avgan.data.datasets import find
from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.evaluation.pictures.eye import SIZE_PX, load_eye, save_eye, train_eye
from avgan.training.data import divide_images


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=7.0)
    arguments = parser.parse_args()
    images = find(arguments.data, "miniplaces")
    scenes = images.labels
    train, test = (
        (small(side), np.array([scenes.index(clip.label) for clip in side.clips]))
        for side in divide_images(images)
    )
    network = train_eye(*train, num_scenes=len(scenes), num_epochs=arguments.epochs)
    save_eye(network, scenes, arguments.out)
    eye = load_eye(arguments.out)
    right = eye.look(test[0]).logits.argmax(1) == test[1]
    print(
        f"{eye.sha256}: {100 * right.mean():.1f} % of {len(right)} photographs, {len(scenes)} scenes"
    )


def small(images: Manifest) -> np.ndarray:
    """All pictures at the eye's size, (M, 3, 64, 64) uint8: means over squares of pixels."""
    store = ImageStore(images, cache_bytes=0)
    parts = []
    for start in range(0, len(images), 64):
        pixels = store.get(np.arange(start, min(start + 64, len(images)))).astype(np.float32)
        factor = pixels.shape[2] // SIZE_PX
        blocks = pixels.reshape(len(pixels), 3, SIZE_PX, factor, SIZE_PX, factor)
        parts.append(np.rint(blocks.mean((3, 5))).astype(np.uint8))
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
