"""Calibration of a run, fitted on the recordings that it held out from training.

- temperature scaling by likelihood, so that a probability of 0.8 is right in eight of ten cases;
- thresholds for not answering (`runtime.unknown`), each refusing a stated share of recordings like those held out;
- the probability that scenes must have for the right one to be among them (split conformal prediction).

Thresholds are order statistics in which each source counts once, however many clips it gave: for a clip of a new
source that could as well have been one of those held out, the chance to be refused, or not to be covered, is at most
the share asked for, whatever the distribution and however few they are (hierarchical conformal prediction, Lee 2023).

Shapes: M clips, C size of an embedding, N labels, S scenes, R directions.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.data.loading import WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage
from avgan.errors import DataError
from avgan.model import AVGAN
from avgan.networks.generator import NUM_BANDS
from avgan.runtime.bundle import Calibration, CalibrationError
from avgan.runtime.steadiness import band_levels, change_db
from avgan.runtime.unknown import STEADY, STRANGE, UNSURE, Known, to_unit
from avgan.scenes import groups_of
from avgan.training.data import read_sounds

BATCH = 32
NUM_BINS = 10
SHARES = {STEADY: 0.01, STRANGE: 0.03, UNSURE: 0.01}
"""Of recordings that the model should answer, how many each reason may refuse: 5 % together."""
MOST_STRANGE = 0.1
"""The largest share that may be refused as strange, where too few were held out for a smaller one."""
SURE_LABEL, SURE_GROUP = 2 / 3, 0.8
"""Of the answers that name a scene two in three should be right, of those that name its group alone four in five: a
third of wrong scenes is what a group of three makes tolerable."""
STEADIEST_DB = 1.0
"""A sound that changes more is not called steady, however much held-out recordings change."""
NUM_DIRECTIONS = 200
CLIPS_FOR_DIRECTION = 5
"""With fewer training clips for each direction, what they have in common is not told from what each has by itself."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Recordings as the networks of a run embed and classify them."""

    embedding: np.ndarray
    """(M, C)"""
    logits: np.ndarray
    """(M, N)"""
    change_db: np.ndarray
    """(M,) how much each changes over time."""
    targets: np.ndarray
    """(M,) label numbers."""
    sources: np.ndarray
    """(M,)"""


@dataclass(frozen=True, eq=False)
class Fitted:
    """The calibration of a bundle, for its card, and what its run knows, for a file of its own."""

    calibration: Calibration
    known: Known


def calibrate(run: Path, data: Path) -> Fitted:
    """Fit on what a finished run held out; `data` is the folder that it was trained on.

    Raises CheckpointError where the training is unfinished, DataError where nothing was held out or is missing,
    LeakageError where a source was both held out and trained on.
    """
    networks, described = checkpoint.load_finished(run)
    sounds = read_sounds(described.config.stage.data, data)
    if not described.origin.validation_sources:
        raise DataError(
            f"{run}: this run held nothing out to calibrate with; train with --set data.validation_fraction=0.1"
        )
    origin = described.origin
    train, aside = (_of_sources(sounds, sources) for sources in (origin.sources, origin.validation_sources))
    if not aside.clips or not train.clips:
        raise DataError(f"{data}: the recordings that {run} was trained on are not here")
    check_leakage(train, aside)
    taught = embed(networks, described, train)
    known = fit_known(taught)
    return Fitted(fit(embed(networks, described, aside), known, described, taught), known)


def _of_sources(sounds: Manifest, sources: tuple[str, ...]) -> Manifest:
    wanted = set(sources)
    return sounds.select(lambda clip: clip.source_id in wanted and bool(clip.audio_path) and bool(clip.label))


@torch.inference_mode()
def embed(networks: AVGAN, described: Checkpoint, sounds: Manifest) -> Embedded:
    """Embeddings and logits of all clips of a manifest, whose labels the networks must know."""
    front_end = described.front_end
    store = WaveformStore(sounds, rate_hz=front_end.sample_rate_hz, window_s=described.window_s, cache_bytes=0)
    embeddings, logits, changes = [], [], []
    for start in range(0, len(sounds), BATCH):
        waveforms = store.get(np.arange(start, min(start + BATCH, len(sounds))))
        vectors = networks.generator.embed(networks.log_mel(torch.from_numpy(waveforms)))
        embeddings.append(vectors.numpy())
        logits.append(networks.imagine(vectors).logits.double().numpy())
        changes += [change_db(band_levels(row, front_end.sample_rate_hz)) for row in waveforms]
    number = {label: index for index, label in enumerate(described.labels)}
    return Embedded(
        np.concatenate(embeddings),
        np.concatenate(logits),
        np.array(changes),
        np.array([number[clip.label] for clip in sounds.clips]),
        np.array([clip.source_id for clip in sounds.clips]),
    )


def fit(aside: Embedded, known: Known, described: Checkpoint, taught: Embedded) -> Calibration:
    """Everything that is fitted on the held-out clips.

    How much a sound changes no network was taught, so that the training clips tell of it as well.
    """
    temperature = fit_temperature(aside.logits, aside.targets)
    before, after = (probabilities(aside.logits, value) for value in (1.0, temperature))
    places_of = described.scene_of_label or {}
    names = [places_of.get(label, label) for label in described.labels]
    scenes = sorted(set(names))
    of_label = np.array([scenes.index(name) for name in names])
    membership = np.eye(len(scenes))[of_label]
    places = of_label[aside.targets]
    errors = [calibration_error(values @ membership, places, aside.sources) for values in (before, after)]
    rows = np.arange(len(places))
    sources = aside.sources
    changes = np.concatenate((aside.change_db, taught.change_db))
    steady = threshold(changes, np.concatenate((sources, taught.sources)), SHARES[STEADY])
    shares = shares_of(len(set(sources.tolist())))
    strange = -threshold(-known.distance(aside.embedding), sources, shares[STRANGE])
    unsure = threshold(after.max(1), sources, SHARES[UNSURE])
    unsure_of_group = 0.0
    if groups := groups_of(described.labels):
        shares.pop(UNSURE)  # the group stands in: nothing is refused by that share
        unsure, unsure_of_group = sure_enough(after, aside.targets, sources, list(groups.values()))
    true = (after @ membership)[rows, places]
    return Calibration(
        num_clips=len(rows),
        num_sources=len(set(aside.sources.tolist())),
        temperature=temperature,
        likelihood=tuple(float(-np.log(values[rows, aside.targets] + 1e-300).mean()) for values in (before, after)),
        error_before=errors[0],
        error_after=errors[1],
        shares=shares,
        least_change_db=float(np.clip(steady, 0, STEADIEST_DB)),
        least_probability=float(max(unsure, 0.0)),
        least_group_probability=unsure_of_group,
        largest_distance=float(strange) if np.isfinite(strange) else None,
        needed=tuple(float(max(threshold(true, sources, 1 - percent / 100), 0.0)) for percent in range(1, 100)),
    )


def sure_enough(
    probabilities: np.ndarray, targets: np.ndarray, sources: np.ndarray, groups: list[str]
) -> tuple[float, float]:
    """From which probability (M, N) on a label is answered, and from which the group (N,) of one that is not.

    Labels of a tree need not be refused where they are unsure: the group stands in for them.
    """
    surest = probabilities.max(1)
    least = least_sure(surest, probabilities.argmax(1) == targets, sources, SURE_LABEL)
    names = sorted(set(groups))
    of_label = np.array([names.index(group) for group in groups])
    in_groups = probabilities @ np.eye(len(names))[of_label]
    right = in_groups.argmax(1) == of_label[targets]
    rest = surest < least
    if not rest.any():
        return least, 0.0
    return least, least_sure(in_groups.max(1)[rest], right[rest], sources[rest], SURE_GROUP)


def least_sure(surest: np.ndarray, right: np.ndarray, sources: np.ndarray, share: float) -> float:
    """The smallest probability (M,) of which it holds that of all answers as sure or surer `share` are right.

    Each source counts once. Where not even the surest are, 1: nothing is answered.
    """
    _, source, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(-surest, kind="stable")
    weights = 1 / sizes[source[order]]
    shares = np.cumsum(weights * right[order]) / np.cumsum(weights)
    fitting = np.flatnonzero(shares >= share)
    return float(surest[order][fitting[-1]]) if len(fitting) else 1.0


def shares_of(num_sources: int) -> dict[str, float]:
    """The shares that so many held-out sources can tell of.

    A share of 0.03 takes 33 of them. Of fewer, what is strange is told at the smallest share that they allow, up to
    `MOST_STRANGE`: a bundle that answers everything is worse than one that refuses a few more.
    """
    smallest = 1 / (num_sources + 1)
    strange = smallest if SHARES[STRANGE] < smallest <= MOST_STRANGE else SHARES[STRANGE]
    return SHARES | {STRANGE: strange}


def shortcomings(calibration: Calibration | None) -> str:
    """What a bundle cannot tell of what it does not know, in one line; empty where it was fitted as it should be."""
    if calibration is None:
        return (
            "it answers whatever it hears, also what it does not know: nothing was fitted for that; train with "
            "held-out recordings (data.validation_fraction) and export with --data"
        )
    num, needed = calibration.num_sources, math.ceil(1 / SHARES[UNSURE]) - 1
    if num >= needed:
        return ""
    found = []
    share = calibration.shares.get(STRANGE, 0.0)
    if calibration.largest_distance is None:
        found.append("calls no sound strange")
    elif share > SHARES[STRANGE]:
        found.append(f"refuses up to {share:.0%} of what it should answer ({SHARES[STRANGE]:.0%} is meant)")
    if calibration.least_probability == 0:
        found.append("calls no answer unsure")
    return (
        f"fitted on {num} held-out recordings, it {' and '.join(found)}; hold {needed} out for both "
        "(data.validation_fraction, or more recordings)"
    )


def threshold(values: np.ndarray, sources: np.ndarray, share: float) -> float:
    """Below it falls at most `share` of what is drawn as the values (M,) were; minus infinity where that says nothing.

    Drawn is a new source, and of it a clip: the S sources (M,) weigh 1 / (S + 1) each, shared between their clips, and
    the new one, of which nothing is known, as much.
    """
    _, source, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    weights = 1 / (sizes[source[order]] * (len(sizes) + 1))
    # what falls below each value at most; a rounding of sums must not cost a value
    below = 1 / (len(sizes) + 1) + np.concatenate(([0.0], np.cumsum(weights)[:-1]))
    fitting = np.flatnonzero(below <= share + 1e-9)
    return float(values[order][fitting[-1]]) if len(fitting) else -math.inf


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """logits (M, N) -> (M, N)."""
    scaled = logits / temperature
    sizes = np.exp(scaled - scaled.max(1, keepdims=True))
    normal: np.ndarray = sizes / sizes.sum(1, keepdims=True)
    return normal


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature under which the targets (M,) are most likely, within [0.05, 20].

    In 1 / temperature the likelihood has one maximum: where the logit of the target is as large as the model expects.
    """
    own = logits[np.arange(len(targets)), targets]
    low, high = math.log(0.05), math.log(20)
    for _ in range(60):
        middle = (low + high) / 2
        expected = (probabilities(logits, math.exp(middle)) * logits).sum(1)
        if float((own - expected).mean()) >= 0:  # surer would be likelier, or as likely
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)


def calibration_error(
    probabilities: np.ndarray, targets: np.ndarray, sources: np.ndarray, num_bins: int = NUM_BINS
) -> CalibrationError:
    """ECE of probabilities (M, S) for targets (M,), with its 95 % interval over sources (M,).

    Clips are few and bins are many: even perfect probabilities have an error of about 0.03 on 200 clips.
    """
    surest = probabilities.max(1)
    correct = probabilities.argmax(1) == targets
    _, group = np.unique(sources, return_inverse=True)
    rng = np.random.default_rng(0)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    draws = []
    for _ in range(1_000):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append(expected_error(surest[rows], correct[rows], num_bins))
    low, high = np.quantile(draws, (0.025, 0.975))
    value = expected_error(surest, correct, num_bins)
    return CalibrationError(value=value, interval_95=(float(low), float(high)), num_bins=num_bins)


def expected_error(surest: np.ndarray, correct: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: bins of one width over [0, 1], the mean gap between probability and accuracy.

    surest (M,) probabilities of the first answers; correct (M,) whether they were right.
    """
    bins = np.minimum((surest * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=surest - correct, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(surest))


def fit_known(train: Embedded) -> Known:
    """The embeddings of training clips: the mean and the principal directions (see `Known`)."""
    vectors = to_unit(train.embedding[:, :-NUM_BANDS].astype(np.float64))
    mean = vectors.mean(0)
    _, _, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    num = min(NUM_DIRECTIONS, len(vectors) // CLIPS_FOR_DIRECTION)
    return Known.of_table(np.vstack((mean[None], directions[:num])).astype(np.float16))
