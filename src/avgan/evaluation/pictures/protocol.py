"""Imagined pictures of held-out recordings: scores with their controls, and sheets to look at.

Controls: real photographs of the right scene (the most that can be reached), what the codes leave of them, and
pictures imagined for another recording (what a generator that ignores the sound would get).

The scenes are those of the pictures at hand, both trained on and held out; recordings of others are left out and
counted. Three measures name them: the judge (`judge`) reads code maps and is trained for each run; the scene classifier
reads pixels and is always the same; retrieval trains nothing.

Shapes: M recordings, D code dimension, S scenes, P photographs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avgan import checkpoint, metrics
from avgan.checkpoint import Checkpoint
from avgan.data.datasets import DATASETS, find
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import DataError
from avgan.evaluation.pictures.exhibits import (
    Exhibit,
    agreement,
    choose_photographs,
    decoded,
    photographs,
    plot_figure8,
    read_pictures,
    reconstructed,
    score_exhibit,
    shuffled,
)
from avgan.evaluation.pictures.judge import Judge, code_side, imagine, ranks, sample, train_judge
from avgan.evaluation.pictures.measures import NUM_BLOCKS, chance, kinds_of, rank_of_first_right
from avgan.evaluation.pictures.scene_classifier import SECOND_WEIGHTS, TrainedClassifier, load_classifier
from avgan.evaluation.report import pictures_table, write_json
from avgan.files import write_whole
from avgan.images import grid
from avgan.losses import diversity
from avgan.model import AVGAN
from avgan.training.data import divide_images, read_sounds, scenes_of_clips

IMAGE_PX = 128
RETRIEVED = (1, 5, 10)
NUM_KINDS = 50
"""Groups of photographs that the effective number of pictures is counted in: a few hundred photographs fill them."""
PER_LABEL = 6
"""Pictures of a label on each side of the contact sheet."""
RIVAL = "rival"
FEWEST = 2 * NUM_BLOCKS
"""Recordings: the error of the kernel distance is taken from blocks of two pictures at least."""
FIGURE8 = {"photographs": "photograph", RIVAL: RIVAL, "reconstructed": "reconstruction", "imagined": "imagined"}
"""The rows of Fig. 8, from the top; a rival is called by its name."""


@dataclass(frozen=True)
class Gallery:
    """What a run imagines for its held-out recordings."""

    clips: Manifest
    scenes: tuple[str, ...]
    """The scene each recording is paired with."""
    features: Tensor
    """(M, D, 16, 16) that pictures are decoded from: imagined features, or what a sampler makes of them."""
    known: tuple[str, ...] = ()
    """The scenes of all labels of the data set."""
    own_pictures: bool = False
    """Whether sounds and pictures are of one data set, as those of videos are."""
    held_out: str = ""
    """What it is: folds, a test part, or what was kept from training."""

    @property
    def sources(self) -> np.ndarray:
        """(M,)"""
        return np.array([clip.source_id for clip in self.clips.clips])

    def numbers(self, scenes: tuple[str, ...]) -> np.ndarray:
        """The number among some scenes of each recording's, (M,)."""
        return np.array([scenes.index(scene) for scene in self.scenes])


def evaluate_pictures(run: Path, *, data: Path, out: Path, rival: Path | None = None) -> dict[str, Any]:
    """Score what a run imagines for its held-out recordings, and write it as sheets.

    Writes report.json, pictures.md, figure8.png and contact_sheet.jpg into `out`. `rival`: a folder with another
    method's pictures of the same recordings, each named after the id of its recording. Raises DataError when the run
    held nothing out, or the rival lacks a picture.
    """
    networks, trained = checkpoint.load_networks(run)
    gallery = imagine_held_out(networks, trained, data)
    learnt_from, kept = pictures_of(trained, gallery, data)
    scenes = tuple(sorted(set(learnt_from.labels) & set(kept.labels) & set(gallery.known)))
    gallery, num_without = only_of(gallery, scenes)
    if len(gallery.scenes) < FEWEST:
        raise DataError(
            f"{data}: {len(gallery.scenes)} held-out recordings with pictures of their scene are too few to compare; "
            f"{FEWEST} are needed: hold out more (--set data.validation_fraction=...)"
        )
    ids = tuple(clip.id for clip in gallery.clips.clips)
    theirs = None if rival is None else (rival.name, read_pictures(rival, ids))
    taught, held_out = (
        code_side(networks, side, scenes, mirror=mirror) for side, mirror in ((learnt_from, True), (kept, False))
    )
    judge = train_judge(taught, held_out, scenes, seed=trained.config.loop.seed)
    report = score_pictures(networks, gallery, judge)
    report["retrieval"] = score_retrieval(networks, gallery, held_out, scenes)
    exhibits = exhibits_of(networks, gallery, kept, theirs)
    report |= score_exhibits(exhibits, load_classifier())
    report["second_classifier"] = score_exhibits(exhibits, load_classifier(SECOND_WEIGHTS))
    report |= {
        "protocol": "pictures",
        "preset": trained.config.preset,
        "seed": trained.config.loop.seed,
        "held_out": gallery.held_out,
        "num_without_pictures": num_without,
        "provenance": trained.origin.provenance,
    }
    out.mkdir(parents=True, exist_ok=True)
    strong = strong_labels(gallery.clips)
    shown = tuple(label for label in gallery.clips.labels if label in strong)
    contact_sheet(networks, gallery, out / "contact_sheet.jpg", labels=shown)
    figure8(exhibits, shown, out / "figure8.png")
    write_whole(out / "pictures.md", pictures_table(report))
    write_json(report, out / "report.json")
    return report


def imagine_held_out(networks: AVGAN, trained: Checkpoint, data: Path) -> Gallery:
    """Imagine every recording that a run held out. Raises DataError when it held none out.

    Raises LeakageError when it, or an ancestor, was trained on one of their sources all the same.
    """
    section = trained.config.stage.data
    sounds = read_sounds(section, data).select(lambda clip: bool(clip.audio_path and clip.label))
    test, held_out = never_learnt(trained, sounds)
    check_leakage(test.select(lambda clip: clip.source_id in trained.sources), test)
    own = trained.imagination.data.images == section.sounds
    scene = scenes_of_clips(sounds.clips, DATASETS.get(section.sounds), own)
    return Gallery(
        test,
        tuple(scene[clip.id] for clip in test.clips),
        sample(networks, imagine(networks, trained, test), test),
        known=tuple(sorted(set(scene.values()))),
        own_pictures=own,
        held_out=held_out,
    )


def only_of(gallery: Gallery, scenes: tuple[str, ...]) -> tuple[Gallery, int]:
    """The recordings of these scenes, of which there are pictures to compare with, and how many others there are."""
    rows = [row for row, scene in enumerate(gallery.scenes) if scene in scenes]
    clips = replace(gallery.clips, clips=tuple(gallery.clips.clips[row] for row in rows))
    kept = replace(
        gallery, clips=clips, scenes=tuple(gallery.scenes[row] for row in rows), features=gallery.features[rows]
    )
    return kept, len(gallery.scenes) - len(rows)


def never_learnt(trained: Checkpoint, sounds: Manifest) -> tuple[Manifest, str]:
    """The recordings that a run left for this: folds, a test part, or what it was watched with; and which it is."""
    folds = trained.config.stage.data.held_out_folds
    if folds:
        return hold_out(sounds, folds)[1], f"folds {', '.join(folds)}"
    if (test := sounds.select(lambda clip: clip.split == "test")).clips:
        return test, "the test part"
    if (kept := sounds.select(lambda clip: clip.source_id in trained.origin.validation_sources)).clips:
        return kept, "held-out recordings"
    raise DataError(
        "pictures are scored on held-out recordings, and this run has none; train with "
        "--set data.validation_fraction=0.2, or look into its samples/"
    )


def pictures_of(trained: Checkpoint, gallery: Gallery, data: Path) -> tuple[Manifest, Manifest]:
    """The pictures that were learnt from, and others of the same kind: photographs, or the frames of the videos."""
    if not gallery.own_pictures:
        return divide_images(find(data, trained.imagination.data.images))
    everything = read_sounds(trained.config.stage.data, data)
    pictured = everything.select(lambda clip: bool(clip.image_path and clip.label))
    learnt_from = pictured.select(lambda clip: clip.source_id in trained.sources)
    held = set(gallery.sources.tolist()) | set(trained.origin.validation_sources)
    return learnt_from, pictured.select(lambda clip: clip.source_id in held)


def strong_labels(sounds: Manifest) -> frozenset[str]:
    """The labels that say well which place it is: all, where labels are places."""
    declared = DATASETS.get(sounds.name)
    if declared is None or declared.label_kind == "scene":
        return frozenset(sounds.labels)
    return declared.strong_labels


def score_pictures(networks: AVGAN, gallery: Gallery, judge: Judge) -> dict[str, Any]:
    """Agreement of imagined pictures with the scene: how often the judge's first and first five answers hold it.

    The shuffled control keeps the pictures and compares each with the scene of another recording.
    """
    quantizer = networks.vqvae.quantizer
    probabilities = judge.probabilities(code_vectors(networks, gallery))
    targets, sources = gallery.numbers(judge.scenes), gallery.sources
    strongly_tied = strong_labels(gallery.clips)
    strong = np.array([clip.label in strongly_tied for clip in gallery.clips.clips])
    rank = ranks(probabilities, targets)
    shuffled_rank = ranks(probabilities, np.random.default_rng(0).permutation(targets))
    gain = (rank == 0).astype(float) - (shuffled_rank == 0).astype(float)
    return {
        "num_pictures": len(targets),
        "num_scenes": len(judge.scenes),
        "judge_accuracy_on_photographs": judge.accuracy,
        **agreement(probabilities, targets, sources),
        "agreement_strong_pairs": float((rank[strong] == 0).mean()),
        "agreement_top5_strong_pairs": float((rank[strong] < 5).mean()),
        "shuffled": float((shuffled_rank == 0).mean()),
        "shuffled_top5": float((shuffled_rank < 5).mean()),
        "gain_over_shuffled_interval_95": metrics.bootstrap_interval(gain, sources),
        "diversity": float(diversity(gallery.features)),
        "codes_used": int((quantizer.count(quantizer.encode(gallery.features)) > 0).sum()),
    }


@torch.inference_mode()
def code_vectors(networks: AVGAN, gallery: Gallery) -> Tensor:
    """The nearest codes of what is imagined, (M, D, 16, 16)."""
    return networks.vqvae.quantizer(gallery.features).vectors


def score_retrieval(
    networks: AVGAN, gallery: Gallery, held_out: tuple[Tensor, np.ndarray], scenes: tuple[str, ...]
) -> dict[str, Any]:
    """How often a photograph of the right scene is among the k held-out ones nearest to an imagined map.

    The shuffled control asks for the scene of another recording. held_out: vectors (P, 1, D, 16, 16), scenes (P,).
    """
    imagined = code_vectors(networks, gallery).flatten(1).numpy()
    real, real_scenes = held_out[0][:, 0].float().flatten(1).numpy(), held_out[1]
    targets, sources = gallery.numbers(scenes), gallery.sources
    rank = rank_of_first_right(imagined, targets, real, real_scenes)
    control = rank_of_first_right(imagined, np.random.default_rng(0).permutation(targets), real, real_scenes)
    return {
        "num_photographs": len(real),
        "at": {
            str(k): {
                "share": float((rank < k).mean()),
                "interval_95": metrics.bootstrap_interval(rank < k, sources),
                "shuffled": float((control < k).mean()),
                "shuffled_interval_95": metrics.bootstrap_interval(control < k, sources),
                "chance": chance(targets, real_scenes, k),
            }
            for k in RETRIEVED
        },
    }


def exhibits_of(
    networks: AVGAN, gallery: Gallery, images: Manifest, rival: tuple[str, np.ndarray] | None
) -> dict[str, Exhibit]:
    """The exhibits of a gallery, by name; images: the held-out photographs, rival: its name and pictures."""
    labels = tuple(clip.label for clip in gallery.clips.clips)
    recorded = tuple(gallery.sources.tolist())
    exhibits = {}
    for kind, chosen in zip(
        ("reference", "photographs"), choose_photographs(images, gallery.scenes, num_each=2), strict=True
    ):
        ids = tuple(images.clips[number].id for number in chosen)
        exhibits[kind] = Exhibit(kind, photographs(images, chosen), gallery.scenes, labels, ids)
    real = exhibits["photographs"]
    exhibits["reconstructed"] = replace(
        real, name="reconstructed", pictures=reconstructed(networks.vqvae, real.pictures)
    )
    exhibits["imagined"] = Exhibit(
        "imagined", decoded(networks.vqvae, gallery.features), gallery.scenes, labels, recorded
    )
    if rival:
        exhibits[RIVAL] = replace(exhibits["imagined"], name=rival[0], pictures=rival[1])
    return exhibits


def score_exhibits(exhibits: dict[str, Exhibit], classifier: TrainedClassifier) -> dict[str, Any]:
    """The scores of each exhibit but the reference, with the shuffled control of what was imagined."""
    shown = exhibits | {"shuffled": shuffled(exhibits["imagined"])}
    outputs = {kind: classifier.apply(exhibit.pictures) for kind, exhibit in shown.items()}
    real = np.concatenate([outputs[kind].features for kind in ("reference", "photographs")])
    kinds = kinds_of(real, min(NUM_KINDS, len(real) // 4))
    reference = outputs.pop("reference")
    scores = {
        kind: {"name": shown[kind].name}
        | score_exhibit(shown[kind], each, reference, classifier=classifier, kinds=kinds)
        for kind, each in outputs.items()
    }
    return {
        "exhibits": scores,
        "scene_classifier": {"sha256": classifier.sha256, "num_scenes": len(classifier.scenes)},
        "num_kinds": len(kinds),
    }


def figure8(exhibits: dict[str, Exhibit], labels: tuple[str, ...], path: Path) -> None:
    """The paper's Fig. 8: for each scene of these labels its first held-out recording, not a chosen one."""
    imagined = exhibits["imagined"]
    columns: dict[str, int] = {}
    for label in labels:
        number = imagined.labels.index(label)
        columns.setdefault(imagined.scenes[number], number)
    kinds = [kind for kind in FIGURE8 if kind in exhibits]
    names = FIGURE8 | ({RIVAL: exhibits[RIVAL].name} if RIVAL in exhibits else {})
    rows = [(names[kind], exhibits[kind].pictures[list(columns.values())]) for kind in kinds]
    plot_figure8(rows, tuple(columns), path)


def contact_sheet(networks: AVGAN, gallery: Gallery, path: Path, *, labels: tuple[str, ...]) -> None:
    """A row a label: left what its held-out recordings made imagine, right the control, what other recordings did."""
    control = np.random.default_rng(0).permutation(len(gallery.scenes))
    gap = np.full((3, IMAGE_PX, IMAGE_PX), 255, dtype=np.uint8)
    rows, names = [], []
    for label in labels:
        own = [row for row, clip in enumerate(gallery.clips.clips) if clip.label == label]
        left, right = (
            decoded(networks.vqvae, gallery.features[numbers])
            for numbers in (own[:PER_LABEL], control[own[:PER_LABEL]])
        )
        rows.append([*left, gap, *right])
        names.append(f"{label}: {gallery.scenes[own[0]]}".replace("_", " "))
    grid(rows, labels=names).convert("RGB").save(path, quality=90)
