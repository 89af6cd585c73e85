"""Sets of pictures side by side, one for each recording: photographs, their reconstructions, imagined ones.

All are scored by the same scene classifier, so that another method's pictures, which have no codes, are scored like
ours. The photographs are held out from every training. A recording has two of its scene, no photograph serving twice:
`reference` is what all others are compared with, `photographs` is what the best imaginable method would reach.

Shapes: M recordings, H W pixels, C features, S scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from avgan import metrics
from avgan.baselines.method import Clips, Method
from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.errors import DataError
from avgan.evaluation.pictures import measures
from avgan.evaluation.pictures.judge import ranks
from avgan.evaluation.pictures.scene_classifier import Outputs, TrainedClassifier
from avgan.images import as_picture, read_image, to_png
from avgan.networks.vqvae import VQVAE
from avgan.training.log import to_uint8

BATCH = 64
CELL_PX, GAP_PX, FONT_PX = 128, 4, 15
"""Of Fig. 8: a cell is a picture in its own size."""


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
    """The units of intervals: a photograph by itself, a recording with those of its source."""


def choose_photographs(images: Manifest, scenes: tuple[str, ...], *, num_each: int, seed: int = 0) -> np.ndarray:
    """`num_each` photographs of its scene for each recording, numbers into `images`, (num_each, M).

    None serves twice where a scene has enough; else each of the `num_each` rows repeats a part of its own. Raises
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
            raise DataError(f"{images.name}: {len(there)} held-out photographs of {scene!r}, and {num_each} are needed")
        parts = np.array_split(there, num_each)
        if num_each * len(places) <= len(there):
            parts = list(there[: num_each * len(places)].reshape(num_each, -1))
        for row, part in enumerate(parts):
            chosen[row, places] = np.resize(part, len(places))
    return chosen


def photographs(images: Manifest, chosen: np.ndarray) -> np.ndarray:
    """The photographs with these numbers (M,), (M, 3, H, W) uint8."""
    return ImageStore(images, cache_bytes=0).get(chosen)


@torch.inference_mode()
def reconstructed(vqvae: VQVAE, pictures: np.ndarray) -> np.ndarray:
    """What remains of pictures (M, 3, H, W) uint8 after encoder, codes and decoder."""
    parts = torch.from_numpy(pictures).split(BATCH)
    return np.concatenate([to_uint8(vqvae.decode(vqvae.encoder(part / 255.0))) for part in parts])


@torch.inference_mode()
def decoded(vqvae: VQVAE, features: torch.Tensor) -> np.ndarray:
    """Features (M, D, 16, 16) -> pictures (M, 3, H, W) uint8."""
    return np.concatenate([to_uint8(vqvae.decode(part)) for part in features.split(BATCH)])


def write_pictures(folder: Path, ids: tuple[str, ...], pictures: np.ndarray) -> None:
    """Write pictures (M, 3, H, W) uint8 as FOLDER/<id of the recording>.png, as `read_pictures` reads them."""
    for name, picture in zip(ids, pictures, strict=True):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_png(picture, path)


def keep_pictures(method: Method, known: Clips, asked: Clips, folder: Path) -> None:
    """Write what a method that learnt from `known` imagines for the clips asked about, where it imagines at all."""
    if known.sample_pictures is not None and hasattr(method, "imagine"):
        write_pictures(folder, asked.ids, method.imagine(asked))


def read_pictures(folder: Path, ids: tuple[str, ...]) -> np.ndarray:
    """Another method's pictures of recordings, (M, 3, 128, 128) uint8. Raises DataError when one is missing."""
    paths = [folder / f"{name}.png" for name in ids]
    if missing := [path for path in paths if not path.is_file()]:
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
    exhibit: Exhibit, outputs: Outputs, reference: Outputs, *, classifier: TrainedClassifier, kinds: np.ndarray
) -> dict[str, Any]:
    """All scores of an exhibit by the outputs of the scene classifier; no agreement with scenes it does not know.

    The distance within a label is a share of that between any two photographs of the reference. kinds: those of
    photographs (`measures.kinds_of`).
    """
    kid, kid_error = measures.kernel_distance_with_error(outputs.features, reference.features)
    labels, sources = np.array(exhibit.labels), np.array(exhibit.sources)
    unit = measures.mean_distance(reference.features)
    low, high = measures.distance_interval(outputs.features, labels, sources)
    within = measures.distance_within(outputs.features, labels)
    among = sorted(set(exhibit.scenes))
    agreements: dict[str, Any] = dict.fromkeys(
        ("agreement", "agreement_interval_95", "agreement_top5", "agreement_top5_interval_95")
    )
    if set(among) <= set(classifier.scenes):
        logits = outputs.logits[:, [classifier.scenes.index(scene) for scene in among]]
        agreements = agreement(logits, np.array([among.index(scene) for scene in exhibit.scenes]), sources)
    return {
        "num_pictures": len(exhibit.scenes),
        **agreements,
        "kid": kid,
        "kid_standard_error": kid_error,
        "fid": measures.frechet_distance(outputs.features, reference.features),
        "distance_within_labels": float(within.mean() / unit),
        "distance_within_labels_interval_95": (low / unit, high / unit),
        "effective_number": measures.effective_number(outputs.features, kinds),
        "distinct": measures.distinct(exhibit.pictures),
    }


def agreement(scores: np.ndarray, targets: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    """How often the first answer, and the first five, hold the scene: scores (M, S), targets (M,), sources (M,)."""
    rank = ranks(scores, targets)
    found: dict[str, Any] = {}
    for name, most in (("agreement", 1), ("agreement_top5", 5)):
        found[name] = float((rank < most).mean())
        found[f"{name}_interval_95"] = metrics.bootstrap_interval(rank < most, sources)
    return found


def plot_figure8(rows: Sequence[tuple[str, np.ndarray]], columns: Sequence[str], path: Path) -> None:
    """Write rows of pictures (S, 3, H, W) with their names on the left and the scenes above as one PNG: Fig. 8."""
    font = ImageFont.load_default(size=FONT_PX)
    margin = round(max(font.getlength(name) for name, _ in rows)) + 4 * GAP_PX
    head = 2 * FONT_PX + 4 * GAP_PX
    step = CELL_PX + GAP_PX
    sheet = Image.new("RGB", (margin + len(columns) * step, head + len(rows) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for number, scene in enumerate(columns):
        words = scene.replace("_", "\n")
        place = (margin + number * step + CELL_PX / 2, head - GAP_PX)
        pen.multiline_text(place, words, "black", font, anchor="md", align="center")
    for r, (name, pictures) in enumerate(rows):
        top = head + r * step
        pen.text((2 * GAP_PX, top + CELL_PX / 2), name, "black", font, anchor="lm")
        for c, picture in enumerate(pictures):
            cell = as_picture(picture).resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC)
            sheet.paste(cell, (margin + c * step, top))
    sheet.save(path)
