"""Imagined pictures of held-out recordings: a score with its controls, and a contact sheet for the eye.

Controls: real photographs of the right scene (the most that can be reached), and pictures imagined from another
scene's recording (what a generator that ignores the sound would get).

Shapes: M recordings, D code dimension, S scenes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import DataError
from avgan.evaluation import metrics
from avgan.evaluation.judge import Judge, code_vectors, train_judge
from avgan.evaluation.report import write_json
from avgan.images import grid
from avgan.losses import diversity
from avgan.model import AVGAN
from avgan.scenes import ESC50_SCENE
from avgan.training.data import divide_images
from avgan.training.log import to_uint8

BATCH = 32
IMAGE_PX = 128


@dataclass(frozen=True)
class Gallery:
    """What a run imagines for its held-out recordings."""

    clips: Manifest
    scenes: tuple[str, ...]
    """The scene each recording is paired with."""
    features: Tensor
    """(M, D, 16, 16)"""


def evaluate_pictures(run: Path, *, data: Path, out: Path) -> dict[str, Any]:
    """Score what a run imagines for its held-out recordings and draw it.

    Writes report.json and contact_sheet.jpg into `out`. Raises DataError when the run held nothing out.
    """
    networks, trained = checkpoint.load_networks(run)
    gallery = imagine_held_out(networks, trained, data)
    assert trained.scene_of_label is not None
    scenes = tuple(sorted(set(trained.scene_of_label.values())))
    judge = judge_of(networks, data, trained.config, scenes)
    report = score_pictures(networks, gallery, judge)
    report |= {
        "protocol": "pictures",
        "preset": trained.config.preset,
        "seed": trained.config.loop.seed,
        "held_out_folds": list(trained.config.data.held_out_folds),
        "provenance": trained.provenance,
    }
    out.mkdir(parents=True, exist_ok=True)
    strong = tuple(label for label, place in ESC50_SCENE.items() if place.strength == "strong")
    contact_sheet(networks, gallery, out / "contact_sheet.jpg", labels=strong)
    write_json(report, out / "report.json")
    return report


def shuffled(gallery: Gallery) -> Gallery:
    """The control: every recording gets what was imagined for another one, drawn with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(gallery.scenes))
    return replace(gallery, features=gallery.features[order])


@torch.inference_mode()
def imagine_held_out(networks: AVGAN, trained: Checkpoint, data: Path) -> Gallery:
    """Imagine every recording of the folds a run held out. Raises DataError when it held none out.

    Raises LeakageError when it was trained on one of their sources all the same.
    """
    config = trained.config
    if not config.data.held_out_folds or not trained.scene_of_label:
        raise DataError(
            "pictures are scored on held-out folds of ESC-50, and this run has none; look into its samples/"
        )
    _, test = hold_out(find(data, config.data.sounds), config.data.held_out_folds)
    trained_on = set(trained.sources)
    check_leakage(test.select(lambda clip: clip.source_id in trained_on), test)
    store = WaveformStore(
        test,
        rate_hz=config.front_end.sample_rate_hz,
        window_s=config.data.window_s,
        cache_bytes=0,
    )
    parts = []
    for start in range(0, len(test.clips), BATCH):
        rows = np.arange(start, min(start + BATCH, len(test.clips)))
        log_mel = networks.log_mel(torch.from_numpy(store.get(rows)))
        parts.append(networks.generator(log_mel))
    scenes = tuple(trained.scene_of_label[clip.label] for clip in test.clips)
    return Gallery(test, scenes, torch.cat(parts))


def judge_of(networks: AVGAN, data: Path, config: Any, scenes: tuple[str, ...]) -> Judge:
    """A judge of these scenes, trained on the photographs the run was trained on."""
    train, test = divide_images(find(data, config.data.images))
    sides = []
    for side, views in ((train, (False, True)), (test, (False,))):
        kept = side.select(lambda clip: clip.label in scenes)
        store = ImageStore(kept, cache_bytes=0)
        everything = np.arange(len(kept.clips))
        vectors = [code_vectors(networks.vqvae, store, everything, mirror=view) for view in views]
        targets = np.array([scenes.index(clip.label) for clip in kept.clips])
        sides.append((torch.stack(vectors, 1).half(), targets))
    return train_judge(sides[0], sides[1], scenes, seed=config.loop.seed)


def score_pictures(networks: AVGAN, gallery: Gallery, judge: Judge) -> dict[str, Any]:
    """Agreement of imagined pictures with the scene: how often the judge's first and first five answers hold it.

    The shuffled control keeps the pictures and compares each with the scene of another recording. `gallery` must be
    of ESC-50, whose sounds say how strongly they are tied to a place.
    """
    quantizer = networks.vqvae.quantizer
    with torch.inference_mode():
        vectors = quantizer(gallery.features).vectors
    probabilities = judge.probabilities(vectors)
    targets = np.array([judge.scenes.index(scene) for scene in gallery.scenes])
    sources = np.array([clip.source_id for clip in gallery.clips.clips])
    strong = np.array(
        [ESC50_SCENE[clip.label].strength == "strong" for clip in gallery.clips.clips]
    )
    rank = (probabilities > probabilities[np.arange(len(targets)), targets][:, None]).sum(1)
    shuffled = np.random.default_rng(0).permutation(targets)
    shuffled_rank = (probabilities > probabilities[np.arange(len(targets)), shuffled][:, None]).sum(
        1
    )
    gain = (rank == 0).astype(float) - (shuffled_rank == 0).astype(float)
    return {
        "num_pictures": len(targets),
        "num_scenes": len(judge.scenes),
        "judge_accuracy_on_photographs": judge.accuracy,
        "agreement": float((rank == 0).mean()),
        "agreement_interval_95": metrics.bootstrap_interval(rank == 0, sources),
        "agreement_top5": float((rank < 5).mean()),
        "agreement_strong_pairs": float((rank[strong] == 0).mean()),
        "agreement_top5_strong_pairs": float((rank[strong] < 5).mean()),
        "shuffled": float((shuffled_rank == 0).mean()),
        "shuffled_top5": float((shuffled_rank < 5).mean()),
        "gain_over_shuffled_interval_95": metrics.bootstrap_interval(gain, sources),
        "diversity": float(diversity(gallery.features)),
        "codes_used": int((quantizer.count(quantizer.encode(gallery.features)) > 0).sum()),
    }


def contact_sheet(
    networks: AVGAN, gallery: Gallery, path: Path, *, labels: tuple[str, ...], per_label: int = 6
) -> None:
    """A row a label: left what its held-out recordings made imagine, right the control, what other recordings did."""
    control = shuffled(gallery)
    gap = np.full((3, IMAGE_PX, IMAGE_PX), 255, dtype=np.uint8)
    rows, names = [], []
    for label in labels:
        chosen = [i for i, clip in enumerate(gallery.clips.clips) if clip.label == label]
        with torch.inference_mode():
            left, right = (
                networks.vqvae.draw(side.features[chosen[:per_label]])
                for side in (gallery, control)
            )
        rows.append([*to_uint8(left), gap, *to_uint8(right)])
        names.append(f"{label}: {gallery.scenes[chosen[0]]}".replace("_", " "))
    grid(rows, labels=names).convert("RGB").save(path, quality=90)
