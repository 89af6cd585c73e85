"""How well a bundle is calibrated: what it refuses, what it should have refused, and whether its numbers are true.

In-domain are the folds that its run held out, which neither the training nor the calibration used. Out of domain are
silence, spoilt recordings, what `outliers` makes on its `test` side, and recordings of labels that the bundle was never
taught, where the data has any.

Shapes: M recordings, N labels, S scenes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgan.audio import read_audio
from avgan.calibration import calibration_error
from avgan.config import DataSection, parse
from avgan.data.manifest import Manifest
from avgan.data.shards import source_of
from avgan.errors import DataError
from avgan.evaluation import outliers
from avgan.evaluation.protocols.held_out import held_out_folds
from avgan.metrics import bootstrap_interval
from avgan.runtime import Prediction, load
from avgan.runtime.model import Model
from avgan.training.data import read_sounds

NUM_OUTLIERS = 100
COVERAGES = (0.8, 0.9, 0.95)
IN_DOMAIN = "recordings never heard"
UNTAUGHT = "labels never taught"
CLIPPED = "badly clipped"
CUT_SHORT = "cut to a click"


def measure(bundle: Path, data: Path, *, num_outliers: int = NUM_OUTLIERS) -> dict[str, Any]:
    """Refusal by kind of sound, calibration error and coverage of a bundle, on the folds its run held out.

    `data` is the folder that it was trained on, or one that has more labels. Raises DataError where the run held
    nothing out.
    """
    model = load(bundle, num_threads=1)
    config = parse(DataSection, model.card.trained["recipe"]["classifier"]["data"])
    sounds = read_sounds(config, data)
    fold = held_out_folds(sounds, config.held_out_folds)
    if fold is None:
        raise DataError(f"{bundle}: its run held no fold out, so nothing is left to measure it on")
    taught = set(model.card.labels)
    test = fold.test.select(lambda clip: clip.label in taught)
    known = answers_to(model, test)
    rows = {IN_DOMAIN: refusals(known, sources_of(test))}
    for kind, waveforms, sources in outlier_sounds(model, test, num_outliers):
        rows[kind] = refusals(model.classify_many(waveforms, model.card.sample_rate_hz), sources)
    untaught = sounds.select(lambda clip: bool(clip.label) and clip.label not in taught)
    if untaught.clips:
        rows[UNTAUGHT] = refusals(answers_to(model, untaught), sources_of(untaught))
    return {
        "protocol": f"folds {', '.join(config.held_out_folds)} held out; outliers of the side `test`",
        "refusals": rows,
        **figures(model, test, known),
    }


def answers_to(model: Model, sounds: Manifest) -> list[Prediction]:
    """What a model says of the clips of a manifest."""
    return [model.classify(source_of(sounds.root / clip.audio_path)) for clip in sounds.clips]


def sources_of(sounds: Manifest) -> np.ndarray:
    """(M,)"""
    return np.array([clip.source_id for clip in sounds.clips])


def refusals(predictions: Sequence[Prediction], sources: np.ndarray) -> dict[str, Any]:
    """The share that was refused, with its 95 % interval over sources (M,) and the reasons."""
    refused = np.array([not prediction.known for prediction in predictions])
    reasons = Counter(prediction.reason for prediction in predictions if prediction.reason)
    return {
        "num": len(refused),
        "refused": float(refused.mean()),
        "interval_95": bootstrap_interval(refused, sources),
        "reasons": {name: count / len(refused) for name, count in reasons.most_common()},
    }


def outlier_sounds(model: Model, test: Manifest, num: int) -> Iterable[tuple[str, list[np.ndarray], np.ndarray]]:
    """Each kind of sound that must be refused: its name, waveforms at the card's rate, and their sources."""
    rate_hz = model.card.sample_rate_hz
    rng = np.random.default_rng(0)
    chosen = [test.clips[index] for index in rng.permutation(len(test))[:num]]
    clipped, cut = [], []
    for clip in chosen:
        waveform = read_audio(source_of(test.root / clip.audio_path), target_rate_hz=rate_hz)
        dice = outliers.Dice(rng, "test")
        clipped.append(outliers.clip_badly(waveform, dice))
        cut.append(outliers.cut_short(waveform, dice, rate_hz))
    sources = np.array([clip.source_id for clip in chosen])
    yield CLIPPED, clipped, sources
    yield CUT_SHORT, cut, sources
    for kind in outliers.KINDS:
        made = outliers.make(kind, num, side="test", rate_hz=rate_hz, duration_s=model.card.window_s)
        yield kind, list(made), np.arange(num)


def figures(model: Model, test: Manifest, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Accuracy of all answers and of those stood by, calibration error before and after scaling, and coverage."""
    card, scenes, sources = model.card, model.scenes, sources_of(test)
    place = dict(zip(card.labels, card.scenes, strict=True))
    membership = np.array([[scene == name for name in scenes] for scene in card.scenes], float)
    targets = np.array([card.labels.index(clip.label) for clip in test.clips])
    true_places = [place[clip.label] for clip in test.clips]
    places = np.array([scenes.index(name) for name in true_places])
    of_scenes = card.label_kind == "scene"
    rankings = [each.scenes if of_scenes else each.sounds for each in predictions]
    after = np.array([[ranking[label] for label in card.labels] for ranking in rankings])
    right = (after @ membership).argmax(1) == places
    stood_by = np.array([prediction.known for prediction in predictions])
    found: dict[str, Any] = {
        "place_accuracy": float(right.mean()),
        "place_accuracy_of_answers": float(right[stood_by].mean()) if stood_by.any() else None,
    }
    if card.calibration is None:
        return found
    before = after**card.calibration.temperature  # undoes the scaling that the graph does
    before /= before.sum(1, keepdims=True)
    for name, values in (("before", before), ("after", after)):
        for what, table, true in (("sound", values, targets), ("place", values @ membership, places)):
            found[f"{what}_error_{name}"] = calibration_error(table, true, sources).model_dump(mode="json")
    # how often the right scene, or its group, was among those called likely, and how many they were
    group_of, found["coverage"] = predictions[0].group_of_scene, {}
    for coverage in COVERAGES:
        sets = [set(prediction.likely(coverage)) for prediction in predictions]
        held = np.array(
            [bool({name, group_of.get(name)} & names) for name, names in zip(true_places, sets, strict=True)]
        )
        found["coverage"][str(coverage)] = {
            "covered": float(held.mean()),
            "interval_95": bootstrap_interval(held, sources),
            "mean_size": float(np.mean([len(names) for names in sets])),
        }
    return found
