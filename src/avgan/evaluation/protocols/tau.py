"""The ten urban scenes of TAU: what is learnt from and answered, and how well in cities heard and never heard.

- `tau2019`: the publisher's fold 1 of TAU 2019. Milan is heard in the test alone.
- `tau2019_cities`: each of the ten cities left out in its turn. Trained on the training part of fold 1 without the
  city, scored on all clips of the city: all 14,400 are answered by a run that never heard their city.
- `tau_av_2021`: fold 1 of the audio-visual set. Beside the sound a judge of pictures, taught with the frames of the
  training part, sees the frames of the test (the most that imagined pictures can reach), the pictures imagined for
  the recordings, and the same pictures mixed up.

A source is a recording location: intervals are drawn over locations, whose clips are right or wrong together.

Shapes: M clips, D code dimension, N scenes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avgan import checkpoint, metrics
from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find
from avgan.data.datasets.tau import CLIP_S, city_of
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.evaluation.pictures.judge import Judge, code_side, imagine, train_judge
from avgan.evaluation.protocols.protocol import Fold, Protocol, Scored
from avgan.metrics import Share, class_average, log_loss, share, shares_by
from avgan.model import AVGAN

SEEN, UNSEEN = "cities heard in training", "cities never heard"


def tau2019(data: Path, run: Checkpoint | None) -> Protocol:
    """Fold 1 of TAU 2019, development."""
    fold = fold_1(find(data, "tau2019"))
    return Protocol(
        name="tau2019",
        title="TAU 2019, the publisher's fold 1 of the development set",
        folds=(fold,),
        window_s=CLIP_S,
        parts=seen_and_unseen(fold),
        measure=measures,
    )


def tau2019_cities(data: Path, run: Checkpoint | None) -> Protocol:
    """TAU 2019 with each city left out in its turn."""
    sounds = find(data, "tau2019")
    return Protocol(
        name="tau2019_cities",
        title="TAU 2019, each city left out in its turn",
        folds=tuple(city_left_out(sounds, city) for city in cities_of(sounds)),
        window_s=CLIP_S,
        measure=measures,
    )


def tau_av_2021(data: Path, run: Checkpoint | None) -> Protocol:
    """Fold 1 of TAU audio-visual 2021: sounds are answered, their own frames may be learnt from."""
    fold = fold_1(find(data, "tau_av_2021"))
    return Protocol(
        name="tau_av_2021",
        title="TAU audio-visual 2021, the publisher's fold 1 of the development set",
        folds=(fold,),
        window_s=CLIP_S,
        images="tau_av_2021",
        parts=seen_and_unseen(fold),
        measure=measures,
        measure_run=measure_frames,
    )


def fold_1(sounds: Manifest) -> Fold:
    """The publisher's two parts. Raises DataError where one is empty."""
    train, test = (in_part(sounds, split) for split in ("train", "test"))
    return Fold("1", train, test)


def in_part(sounds: Manifest, split: str) -> Manifest:
    """The clips of a part of fold 1. Raises DataError where there are none."""
    part = sounds.select(lambda clip: clip.split == split)
    if not part.clips:
        raise DataError(f"{sounds.root}: fold 1 has no clips to {split}; unpack the set's meta.zip anew")
    return part


def cities_of(sounds: Manifest) -> tuple[str, ...]:
    """All cities, in the alphabet's order."""
    return tuple(sorted({clip.place for clip in sounds.clips}))


def city_left_out(sounds: Manifest, city: str) -> Fold:
    """The training part without a city, and all that was recorded in it."""
    train = in_part(sounds, "train").select(lambda clip: clip.place != city)
    return Fold(city, train, sounds.select(lambda clip: clip.place == city))


def seen_and_unseen(fold: Fold) -> dict[str, frozenset[str]]:
    """The ids of the test clips of cities that training hears, and of those that it never hears."""
    heard = {clip.place for clip in fold.train.clips}
    seen = frozenset(clip.id for clip in fold.test.clips if clip.place in heard)
    unseen = frozenset(clip.id for clip in fold.test.clips) - seen
    return {name: ids for name, ids in ((SEEN, seen), (UNSEEN, unseen)) if ids}


def measures(scored: Scored) -> dict[str, Any]:
    """What a report of TAU has beyond others: shares by city and scene, mean over scenes, log loss."""
    cities = {fold: {city_of(source) for source in heard} for fold, heard in scored.heard.items()}
    seen = [
        SEEN if clip.place in cities.get(fold, ()) else UNSEEN
        for clip, fold in zip(scored.clips, scored.folds, strict=True)
    ]
    return {
        "groups": group_shares(scored.clips, scored.correct, seen),
        "class_average": class_average(scored.targets, scored.correct),
        "log_loss": log_loss(scored.targets, scored.probabilities),
    }


def group_shares(clips: Sequence[Clip], correct: np.ndarray, seen: Sequence[str]) -> dict[str, dict[str, Share]]:
    """Shares by seen and unseen city, by city and by scene; correct, seen (M,)."""
    sources = [clip.source_id for clip in clips]
    names = {"seen": seen, "city": [clip.place for clip in clips], "label": [clip.label for clip in clips]}
    return {kind: dict(sorted(shares_by(each, correct, sources).items())) for kind, each in names.items()}


def measure_frames(run: Path, scored: Scored, test: Manifest) -> dict[str, Any]:
    """How often a judge of pictures sees the right scene in the frames, and in what was imagined for the sounds.

    The judge is taught with the frames of the training part, as the run's VQ-VAE encodes them, and hears nothing.
    """
    networks, trained = checkpoint.load_finished(run)
    features, scenes = imagine(networks, trained, test), trained.labels
    train = in_part(find(test.root, test.name), "train")
    taught = code_side(networks, train, scenes, mirror=True)
    frames, targets = code_side(networks, test, scenes, mirror=False)
    judge = train_judge(taught, (frames, targets), scenes, seed=trained.config.loop.seed)
    return compare_frames(networks, judge, frames[:, 0].float(), features, targets, test)


def compare_frames(
    networks: AVGAN, judge: Judge, frames: Tensor, features: Tensor, targets: np.ndarray, test: Manifest
) -> dict[str, Any]:
    """Shares of real frames and imagined features (M, D, 16, 16) that the judge names rightly, with the control."""
    sources = [clip.source_id for clip in test.clips]
    with torch.inference_mode():
        imagined = networks.vqvae.quantizer(features).vectors
    answers = judge.probabilities(imagined).argmax(1)
    others = np.random.default_rng(0).permutation(targets)
    right, control = answers == targets, answers == others
    gain = right.astype(float) - control.astype(float)
    shares = {
        "the real frame": share(judge.probabilities(frames).argmax(1) == targets, sources),
        "the imagined picture": share(right, sources),
        "a picture imagined for another recording": share(control, sources),
    }
    return {"groups": {"picture": shares}, "gain_of_imagined_interval_95": metrics.bootstrap_interval(gain, sources)}
