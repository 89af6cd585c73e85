"""What the bundle of places is right about, on the recordings that its run held out, and what it refuses.

    python benchmarks/places.py --data DATA --run runs/places/model [--model BUNDLE] [--esc50 200] [--outliers 30]

DATA is the folder that the run was trained on. Prints shares with their 95 % intervals over recordings: the most
probable scene and its group, at four levels; what is answered with a scene, with its group, with `unknown`; `unknown`
of sounds made by a program, and of ESC-50 where DATA has it. The thresholds were fitted on the same recordings.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avgan import checkpoint
from avgan.audio import read_audio
from avgan.data.datasets import find
from avgan.errors import DataError
from avgan.evaluation.outliers import KINDS, make
from avgan.metrics import share
from avgan.runtime import Prediction, load

LEVELS_DB = (0, -20, -40, 10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--model", default="places")
    parser.add_argument("--esc50", type=int, default=200)
    parser.add_argument("--outliers", type=int, default=30)
    arguments = parser.parse_args()
    model = load(arguments.model)
    rate_hz, group_of = model.card.sample_rate_hz, model.card.group_of_scene
    assert group_of is not None
    aside = set(checkpoint.describe(arguments.run).origin.validation_sources)
    sounds = find(arguments.data, "places")
    clips = [clip for clip in sounds.clips if clip.source_id in aside and clip.label]
    waveforms = [read_audio(sounds.root / clip.audio_path, target_rate_hz=rate_hz) for clip in clips]
    sources = [clip.source_id for clip in clips]
    labels = [clip.label for clip in clips]
    groups = [group_of[label] for label in labels]

    def tell(what: str, right: Sequence[bool], of: Sequence[str] = sources) -> None:
        if not right:
            print(f"{what}: none")
            return
        found = share(np.array(right), of)
        low, high = found["interval_95"] or (found["accuracy"],) * 2
        print(f"{what}: {found['accuracy']:.1%} [{low:.1%}, {high:.1%}] of {found['num_clips']} clips")

    for level_db in LEVELS_DB:
        gain = np.float32(10 ** (level_db / 20))
        found = [model.classify(np.clip(gain * wave, -1, 1), rate_hz) for wave in waveforms]
        print(f"{level_db} dB")
        tell("  scene", [next(iter(one.scenes)) == own for one, own in zip(found, labels, strict=True)])
        tell("  group", [next(iter(one.groups)) == own for one, own in zip(found, groups, strict=True)])
        tell("  unknown", [not one.known for one in found])
        for what, names, true in (("a scene", set(group_of), labels), ("its group", set(group_of.values()), groups)):
            rows = [row for row, one in enumerate(found) if one.scene in names]
            print(f"  answered with {what}: {len(rows) / len(found):.1%}")
            right = [found[row].scene == true[row] for row in rows]
            tell("    of these right", right, [sources[row] for row in rows])
    for kind in KINDS:
        made = make(kind, arguments.outliers, side="test", rate_hz=rate_hz, duration_s=model.card.window_s)
        print(f"unknown of {kind}: {refused([model.classify(one, rate_hz) for one in made]):.0%}")
    try:
        other = find(arguments.data, "esc50")
    except DataError:
        return
    chosen = np.random.default_rng(0).permutation(len(other))[: arguments.esc50]
    answers = [model.classify(other.root / other.clips[row].audio_path) for row in chosen]
    print(f"unknown of ESC-50: {refused(answers):.0%}")


def refused(answers: Sequence[Prediction]) -> float:
    """The share without an answer."""
    return float(np.mean([not one.known for one in answers]))


if __name__ == "__main__":
    main()
