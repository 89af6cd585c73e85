"""How well a bundle is calibrated: what it refuses, what it should have refused, and whether its numbers are true.

In-domain are the folds that its run held out, of which neither the training nor the calibration heard anything. Out of
domain are silence, spoilt recordings, what `outliers` makes on its `test` side, and recordings of labels that the
bundle was never taught, where the data has any.

Shapes: M recordings, N labels, S scenes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avgan.audio import read_audio
from avgan.calibration import calibration_error
from avgan.config import DataSection, parse
from avgan.data.manifest import Clip, Manifest
from avgan.data.shards import source_of
from avgan.errors import DataError
from avgan.evaluation import outliers
from avgan.evaluation.metrics import bootstrap_interval
from avgan.evaluation.protocols.held_out import held_out_folds
from avgan.files import write_whole
from avgan.runtime import Prediction, load
from avgan.runtime.bundle import CARD_FILE
from avgan.runtime.model import Model
from avgan.training.data import read_sounds

NUM_OUTLIERS = 100
COVERAGES = (0.8, 0.9, 0.95)
IN_DOMAIN = "recordings never heard"
UNHEARD = "labels never taught"
CLIPPED = "badly clipped"
CUT_SHORT = "cut to a click"


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions with the sources they come from; those of one source are right or wrong together."""

    predictions: Sequence[Prediction]
    sources: np.ndarray

    def row(self) -> dict[str, Any]:
        """The share that was refused, with its 95 % interval and the reasons."""
        refused = np.array([not prediction.known for prediction in self.predictions])
        reasons = Counter(prediction.reason for prediction in self.predictions if prediction.reason)
        return {
            "num": len(refused),
            "refused": float(refused.mean()),
            "interval_95": bootstrap_interval(refused, self.sources),
            "reasons": {name: count / len(refused) for name, count in reasons.most_common()},
        }


def data_of(trained: Mapping[str, Any]) -> DataSection:
    """What the labels of a bundle were learnt from, by its card."""
    if "recipe" in trained:
        return parse(DataSection, trained["recipe"]["classifier"]["data"])
    return parse(DataSection, trained["config"]["data"])  # the shipped bundle is older than recipes


def measure(bundle: Path, data: Path, *, num_outliers: int = NUM_OUTLIERS) -> dict[str, Any]:
    """Refusal by kind of sound, calibration error and coverage of a bundle, on the folds its run held out.

    `data` is the folder that it was trained on, or one that has more labels. Raises DataError where the run held
    nothing out.
    """
    model = load(bundle, num_threads=1)
    config = data_of(model.card.trained)
    sounds = read_sounds(config, data)
    fold = held_out_folds(sounds, config.held_out_folds)
    if fold is None:
        raise DataError(f"{bundle}: its run held no fold out, so nothing is left to measure it on")
    taught = set(model.card.labels)
    test = fold.test.select(lambda clip: clip.label in taught)
    known = answer(model, test)
    rows = {IN_DOMAIN: known.row()}
    for kind, waveforms, sources in _outliers(model, test, num_outliers):
        predictions = model.classify_many(waveforms, model.card.sample_rate_hz)
        rows[kind] = Answers(predictions, sources).row()
    unheard = sounds.select(lambda clip: bool(clip.label) and clip.label not in taught)
    if unheard.clips:
        rows[UNHEARD] = answer(model, unheard).row()
    return {
        "protocol": f"folds {', '.join(config.held_out_folds)} held out; outsiders of the side `test`",
        "refusals": rows,
        **_figures(model, test.clips, known),
    }


def answer(model: Model, sounds: Manifest) -> Answers:
    """What a model says of the clips of a manifest."""
    predictions = [model.classify(source_of(sounds.root / clip.audio_path)) for clip in sounds.clips]
    return Answers(predictions, np.array([clip.source_id for clip in sounds.clips]))


def _outliers(model: Model, test: Manifest, num: int) -> Iterable[tuple[str, list[np.ndarray], np.ndarray]]:
    """Each kind of sound that must be refused: its name, waveforms at the card's rate, and their sources."""
    rate_hz = model.card.sample_rate_hz
    rng = np.random.default_rng(0)
    chosen = [test.clips[index] for index in rng.permutation(len(test))[:num]]
    sources = np.array([clip.source_id for clip in chosen])
    spoilt: dict[str, list[np.ndarray]] = {CLIPPED: [], CUT_SHORT: []}
    for clip in chosen:
        waveform = _read(model, test, clip)
        dice = outliers.Dice(rng, "test")
        spoilt[CLIPPED].append(outliers.clip_badly(waveform, dice))
        spoilt[CUT_SHORT].append(outliers.cut_short(waveform, dice, rate_hz))
    for name, waveforms in spoilt.items():
        yield name, waveforms, sources
    for kind in outliers.KINDS:
        made = outliers.make(kind, num, side="test", rate_hz=rate_hz, duration_s=model.card.window_s)
        yield kind, list(made), np.arange(num)


def _read(model: Model, sounds: Manifest, clip: Clip) -> np.ndarray:
    source = source_of(sounds.root / clip.audio_path)
    return read_audio(source, target_rate_hz=model.card.sample_rate_hz)


def _figures(model: Model, clips: Sequence[Clip], answers: Answers) -> dict[str, Any]:
    """Accuracy of all answers and of those stood by, calibration error before and after scaling, and coverage."""
    card, scenes = model.card, model.scenes
    place = dict(zip(card.labels, card.scenes, strict=True))
    membership = np.array([[scene == name for name in scenes] for scene in card.scenes], float)
    targets = np.array([card.labels.index(clip.label) for clip in clips])
    places = np.array([scenes.index(place[clip.label]) for clip in clips])
    of_scenes = card.label_kind == "scene"
    rankings = [each.scenes if of_scenes else each.sounds for each in answers.predictions]
    after = np.array([[ranking[label] for label in card.labels] for ranking in rankings])
    right = (after @ membership).argmax(1) == places
    stood_by = np.array([prediction.known for prediction in answers.predictions])
    figures: dict[str, Any] = {
        "place_accuracy": float(right.mean()),
        "place_accuracy_of_answers": float(right[stood_by].mean()) if stood_by.any() else None,
    }
    if card.calibration is None:
        return figures
    before = after**card.calibration.temperature  # undoes the scaling that the graph does
    before /= before.sum(1, keepdims=True)
    for name, values in (("before", before), ("after", after)):
        for what, table, true in (("sound", values, targets), ("place", values @ membership, places)):
            error = calibration_error(table, true, answers.sources)
            figures[f"{what}_error_{name}"] = error.model_dump(mode="json")
    figures["coverage"] = {str(coverage): _coverage(coverage, clips, place, answers) for coverage in COVERAGES}
    return figures


def _coverage(coverage: float, clips: Sequence[Clip], place: dict[str, str], answers: Answers) -> dict[str, Any]:
    """How often the right scene was among those called likely, and how many they were."""
    sets = [prediction.likely(coverage) for prediction in answers.predictions]
    group_of = answers.predictions[0].group_of_scene
    places = [place[clip.label] for clip in clips]
    pairs = zip(places, sets, strict=True)
    held = np.array([bool({name, group_of.get(name)} & set(names)) for name, names in pairs])
    return {
        "covered": float(held.mean()),
        "interval_95": bootstrap_interval(held, answers.sources),
        "mean_size": float(np.mean([len(names) for names in sets])),
    }


def card_figures(measured: dict[str, Any], command: str) -> dict[str, dict[str, Any]]:
    """The figures of `measure` as a card names what was measured."""
    protocol = measured["protocol"]
    figures = {
        f"refused: {kind}": {"value": row["refused"], "interval_95": row["interval_95"]}
        for kind, row in measured["refusals"].items()
    }
    for name in ("place_error_before", "place_error_after"):
        if error := measured.get(name):
            figures[f"calibration error, {name.split('_')[-1]} scaling"] = {
                "value": error["value"],
                "interval_95": error["interval_95"],
            }
    for coverage, row in measured.get("coverage", {}).items():
        figures[f"right scene among the likely at {coverage}"] = {
            "value": row["covered"],
            "interval_95": row["interval_95"],
        }
    return {name: {**figure, "protocol": protocol, "command": command} for name, figure in figures.items()}


def add_to_card(bundle: Path, measured: dict[str, Any], command: str) -> None:
    """Write the figures of `measure` into the card of a bundle folder."""
    path = bundle / CARD_FILE
    card = json.loads(path.read_text(encoding="utf-8"))
    card["measured"] |= card_figures(measured, command)
    write_whole(path, json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def table(measured: dict[str, Any]) -> str:
    """The refusals of `measure` as a table in Markdown."""
    lines = ["| sound | number | refused | 95 % interval | reasons |", "|---|---|---|---|---|"]
    for kind, row in measured["refusals"].items():
        low, high = (100 * bound for bound in row["interval_95"])
        reasons = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["reasons"].items())
        lines.append(f"| {kind} | {row['num']} | {100 * row['refused']:.1f} % | {low:.1f} to {high:.1f} | {reasons} |")
    return "\n".join(lines) + "\n"
