"""Sets of pictures side by side, one picture for each recording: photographs, their reconstructions, imagined ones.

All are looked at by the same eye (`eye`), so that a rival's pictures, which have no codes, are scored like ours. The
photographs are held out from every training. A recording has two of its scene, no photograph serving twice: `reference`
is what all others are compared with, `photographs` is what the best imaginable method would reach.

Shapes: M recordings, H W pixels, C features.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgan.baselines.method import Clips, Method
from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.errors import DataError
from avgan.evaluation import metrics
from avgan.evaluation.pictures import variety
from avgan.evaluation.pictures.eye import Look, TrainedEye
from avgan.evaluation.pictures.judge import ranks
from avgan.evaluation.pictures.likeness import frechet_distance, kernel_distance_with_error
from avgan.images import read_image, to_png
from avgan.networks.vqvae import VQVAE
from avgan.training.log import to_uint8

BATCH = 64
NUM_KINDS = 50
"""Groups of photographs that the effective number of pictures is counted in."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A picture for each recording."""

    name: str
    pictures: np.ndarray
    """(M, 3, H, W) uint8"""
    scenes: tuple[str, ...]
    """What each picture should show."""
    labels: tuple[str, ...]
    """Of the recordings."""
    sources: tuple[str, ...]
    """What is drawn as one for an interval: a photograph by itself, a recording with those of its source."""


def draw_photographs(
    images: Manifest, scenes: tuple[str, ...], *, num_each: int, seed: int = 0
) -> np.ndarray:
    """`num_each` photographs of its scene for each recording, numbers into `images`, (num_each, M).

    None serves twice where a scene has enough; else each of the `num_each` rows goes round a part of its own. Raises
    DataError where a scene has fewer than `num_each`.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([clip.label for clip in images.clips])
    chosen = np.empty((num_each, len(scenes)), dtype=np.int64)
    wanted = np.array(scenes)
    for scene in sorted(set(scenes)):
        places = np.flatnonzero(wanted == scene)
        there = rng.permutation(np.flatnonzero(labels == scene))
        if len(there) < num_each:
            raise DataError(
                f"{images.name}: {len(there)} held-out photographs of {scene!r}, and {num_each} are needed"
            )
        parts = np.array_split(there, num_each)
        if num_each * len(places) <= len(there):
            parts = list(there[: num_each * len(places)].reshape(num_each, -1))
        for row, part in enumerate(parts):
            chosen[row, places] = np.resize(part, len(places))
    return chosen


def photographs(images: Manifest, chosen: np.ndarray) -> np.ndarray:
    """The photographs with these numbers (M,), (M, 3, H, W) uint8."""
    store = ImageStore(images, cache_bytes=0)
    parts = [store.get(chosen[start : start + BATCH]) for start in range(0, len(chosen), BATCH)]
    return np.concatenate(parts)


@torch.inference_mode()
def reconstructed(vqvae: VQVAE, pictures: np.ndarray) -> np.ndarray:
    """What remains of pictures (M, 3, H, W) uint8 after encoder, codes and decoder."""
    parts = []
    for start in range(0, len(pictures), BATCH):
        image = torch.from_numpy(pictures[start : start + BATCH]).float() / 255.0
        parts.append(to_uint8(vqvae.draw(vqvae.encoder(image))))
    return np.concatenate(parts)


@torch.inference_mode()
def drawn(vqvae: VQVAE, features: torch.Tensor) -> np.ndarray:
    """Features (M, D, 16, 16) -> pictures (M, 3, H, W) uint8."""
    return np.concatenate([to_uint8(vqvae.draw(part)) for part in features.split(BATCH)])


def write_pictures(folder: Path, ids: tuple[str, ...], pictures: np.ndarray) -> None:
    """Write pictures (M, 3, H, W) uint8 as FOLDER/<id of the recording>.png, as `read_pictures` reads them."""
    for name, picture in zip(ids, pictures, strict=True):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_png(picture, path)


def keep_pictures(rival: Method, known: Clips, asked: Clips, folder: Path) -> None:
    """Write what a rival that learnt from `known` imagines for the clips asked about, where it imagines at all."""
    imagine = getattr(rival, "imagine", None)
    if imagine is not None and known.draw is not None:
        write_pictures(folder, asked.ids, imagine(asked))


def read_pictures(folder: Path, ids: tuple[str, ...]) -> np.ndarray:
    """A rival's pictures of recordings, (M, 3, 128, 128) uint8. Raises DataError when one is missing."""
    paths = [folder / f"{name}.png" for name in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]}: no such picture ({len(missing)} of {len(paths)} are missing); "
            "name each after the id of its recording"
        )
    return np.stack([read_image(path) for path in paths])


def shuffled(exhibit: Exhibit) -> Exhibit:
    """The control: every recording gets the picture of another one."""
    order = np.random.default_rng(0).permutation(len(exhibit.scenes))
    return replace(exhibit, name="shuffled", pictures=exhibit.pictures[order])


def score_exhibit(
    exhibit: Exhibit, look: Look, reference: Look, *, eye: TrainedEye, middles: np.ndarray
) -> dict[str, Any]:
    """All that the eye says of an exhibit, of which it had this look; no agreement with scenes that it does not know.

    The distance within a label is a share of that between any two photographs of the reference. middles: the kinds of
    photographs (`variety.kinds_of`).
    """
    kid, kid_error = kernel_distance_with_error(look.features, reference.features)
    labels = np.array(exhibit.labels)
    unit = variety.mean_distance(reference.features)
    low, high = variety.distance_interval(look.features, labels, np.array(exhibit.sources))
    return {
        "num_pictures": len(exhibit.scenes),
        **agreement(exhibit, look, eye),
        "kid": kid,
        "kid_standard_error": kid_error,
        "fid": frechet_distance(look.features, reference.features),
        "distance_within_labels": float(
            variety.distance_within(look.features, labels).mean() / unit
        ),
        "distance_within_labels_interval_95": (low / unit, high / unit),
        "effective_number": variety.effective_number(look.features, middles),
        "distinct": variety.distinct(exhibit.pictures),
    }


def agreement(exhibit: Exhibit, look: Look, eye: TrainedEye) -> dict[str, Any]:
    """How often the eye's first answer, and its first five, hold the scene; None where it does not know them all."""
    names = ("agreement", "agreement_interval_95", "agreement_top5", "agreement_top5_interval_95")
    among = sorted(set(exhibit.scenes))
    if not set(among) <= set(eye.scenes):
        return dict.fromkeys(names)
    logits = look.logits[:, [eye.scenes.index(scene) for scene in among]]
    targets = np.array([among.index(scene) for scene in exhibit.scenes])
    rank = ranks(logits, targets)
    sources = np.array(exhibit.sources)
    shares = [
        part
        for hits in (rank == 0, rank < 5)
        for part in (float(hits.mean()), metrics.bootstrap_interval(hits, sources))
    ]
    return dict(zip(names, shares, strict=True))
