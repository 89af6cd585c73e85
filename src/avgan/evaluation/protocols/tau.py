"""The ten urban scenes of TAU: what is learnt from and answered, and how well in seen and unseen cities.

- `tau2019`: the publisher's fold 1 of TAU 2019. Milan is in the test alone.
- `tau2019_cities`: each of the ten cities left out in its turn. Trained on the training part of fold 1 without the
  city, scored on all clips of the city: all 14,400 are answered by a run that learnt nothing of their city.
- `tau_av_2021`: fold 1 of the audio-visual set. Beside the sound a judge of pictures, taught with the frames of the
  training part, sees the frames of the test (the most that imagined pictures can reach), the pictures imagined for
  the recordings, and the same pictures mixed up.

A source is a recording location: intervals resample locations, whose clips are right or wrong together.

Shapes: M clips, D code dimension, N scenes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avgan import checkpoint, metrics
from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find
from avgan.data.datasets.tau import CLIP_S, city_of
from avgan.data.manifest import Manifest
from avgan.errors import DataError
from avgan.evaluation.pictures.judge import Judge, code_side, imagine, train_judge
from avgan.evaluation.protocols.protocol import Fold, Protocol, Scored
from avgan.metrics import log_loss, share, shares_by
from avgan.model import AVGAN

SEEN, UNSEEN = "cities heard in training", "cities never heard"


def tau2019(data: Path, run: Checkpoint | None) -> Protocol:
    """Fold 1 of TAU 2019, development."""
    return _of_fold_1("tau2019", "TAU 2019", data)


def tau_av_2021(data: Path, run: Checkpoint | None) -> Protocol:
    """Fold 1 of TAU audio-visual 2021: sounds are answered, their own frames may be learnt from."""
    own = {"images": "tau_av_2021", "measure_run": measure_frames}
    return _of_fold_1("tau_av_2021", "TAU audio-visual 2021", data, **own)


def _of_fold_1(name: str, title: str, data: Path, **more: Any) -> Protocol:
    sounds = find(data, name)
    fold = Fold("1", in_part(sounds, "train"), in_part(sounds, "test"))
    return Protocol(
        name=name,
        title=f"{title}, the publisher's fold 1 of the development set",
        folds=(fold,),
        window_s=CLIP_S,
        parts=seen_and_unseen(fold),
        measure=measures,
        **more,
    )


def tau2019_cities(data: Path, run: Checkpoint | None) -> Protocol:
    """TAU 2019 with each city left out in its turn: the training part without it, and all that was recorded in it."""
    sounds = find(data, "tau2019")
    train = in_part(sounds, "train")

    def fold(city: str) -> Fold:
        others = train.select(lambda clip: clip.place != city)
        return Fold(city, others, sounds.select(lambda clip: clip.place == city))

    return Protocol(
        name="tau2019_cities",
        title="TAU 2019, each city left out in its turn",
        folds=tuple(map(fold, sorted({clip.place for clip in sounds.clips}))),
        window_s=CLIP_S,
        measure=measures,
    )


def in_part(sounds: Manifest, split: str) -> Manifest:
    """The clips of a part of fold 1. Raises DataError where there are none."""
    part = sounds.select(lambda clip: clip.split == split)
    if not part.clips:
        raise DataError(f"{sounds.root}: fold 1 has no clips to {split}; unpack the set's meta.zip anew")
    return part


def seen_and_unseen(fold: Fold) -> dict[str, frozenset[str]]:
    """The ids of the test clips of cities that are learnt from, and of those that are not."""
    cities = {clip.place for clip in fold.train.clips}
    seen = frozenset(clip.id for clip in fold.test.clips if clip.place in cities)
    unseen = frozenset(clip.id for clip in fold.test.clips) - seen
    return {name: ids for name, ids in ((SEEN, seen), (UNSEEN, unseen)) if ids}


def measures(scored: Scored) -> dict[str, Any]:
    """What a report of TAU has beyond others: shares by city and scene, mean over scenes, log loss."""
    cities = {fold: {city_of(source) for source in sources} for fold, sources in scored.learnt_from.items()}
    names = {
        "seen": [
            SEEN if clip.place in cities.get(fold, ()) else UNSEEN
            for clip, fold in zip(scored.clips, scored.folds, strict=True)
        ],
        "city": [clip.place for clip in scored.clips],
        "label": [clip.label for clip in scored.clips],
    }
    return {
        "groups": {
            kind: dict(sorted(shares_by(each, scored.correct, scored.sources).items())) for kind, each in names.items()
        },
        "class_average": metrics.mean_over_folds(scored.correct, scored.targets),
        "log_loss": log_loss(scored.targets, scored.probabilities),
    }


def measure_frames(run: Path, test: Manifest) -> dict[str, Any]:
    """How often a judge of pictures sees the right scene in the frames, and in what was imagined for the sounds.

    The judge is taught with the frames of the training part, as the run's VQ-VAE encodes them, and has no sound.
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
