"""Whether the teacher of scenes learns the place or the recorder: on embeddings of `places`, fitted anew many times.

    python benchmarks/recorders.py --data DATA [--head-start 0 2 3] [--c 0.001] [--recorder tut2017]

One folder of DATA is of one recorder. A scene that others have as well is taken out of it, the teacher is fitted on all
the rest, and is asked about what was taken out: it is right where it knows the place, and names one of the recorder's
other scenes where it knows the recorder. Beside that, halves of the recorder's places (the recorder is known, and so
are its scenes), and the ten scenes of DCASE in five parts of the first folder by collection. Prints a Markdown table,
shares of clips; about two minutes for the embeddings on one core, and half a minute for each head start.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avgan.audio import read_audio
from avgan.data.datasets import find
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import MN04Config
from avgan.scenes import DCASE_SCENES, SCENES
from avgan.training.teacher import Teacher

WINDOW_S = 10.0
BATCH = 32
LEAST_SOURCES = 5
"""Of a scene that is taught at all, as many as the five parts."""
LEAST_ELSEWHERE = 4
"""Sources with this recorder, and with others, of a scene that is taken out."""
NUM_PARTS = 5
Fitted = Callable[[np.ndarray], np.ndarray]


class Clips:
    """The clips of `places` whose scenes have enough sources, embedded; `head_start` is the teacher's."""

    head_start = 0.0

    def __init__(self, data: Path) -> None:
        manifest = find(data, "places")
        known: dict[str, set[str]] = {}
        for clip in manifest.clips:
            known.setdefault(clip.label, set()).add(clip.source_id)
        self.scenes = sorted(label for label, sources in known.items() if label and len(sources) >= LEAST_SOURCES)
        clips = [clip for clip in manifest.clips if clip.label in self.scenes]
        self.targets = np.array([self.scenes.index(clip.label) for clip in clips])
        self.sources = np.array([clip.source_id for clip in clips])
        self.devices = np.array([clip.device for clip in clips])
        self.folders = np.array([clip.fold for clip in clips])
        self.origins = np.array([clip.origin for clip in clips])
        self.groups = np.array([SCENES[scene].group for scene in self.scenes])
        self.embeddings = embed([manifest.root / clip.audio_path for clip in clips])

    def fit(self, learn: np.ndarray, c: float) -> Fitted:
        """The teacher of those clips (M,), whatever scenes they have: embeddings (B, C) -> scenes (B,)."""
        names, targets = np.unique(self.targets[learn], return_inverse=True)
        fitted = Teacher(
            self.embeddings[learn],
            targets,
            sources=self.sources[learn].tolist(),
            devices=self.devices[learn].tolist(),
            c=c,
            head_start=self.head_start,
        )

        def scores(embeddings: np.ndarray) -> np.ndarray:
            found = np.zeros((len(embeddings), len(self.scenes)))
            found[:, names] = fitted(torch.from_numpy(embeddings)).numpy()
            return found

        return scores


def embed(paths: list[Path]) -> np.ndarray:
    """(M, C)"""
    config = MN04Config(blocks=True)
    front_end, trunk = LogMel(config.front_end), config.build().eval()
    rate_hz = config.front_end.sample_rate_hz
    rows = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            sounds = [read_audio(path, target_rate_hz=rate_hz) for path in paths[start : start + BATCH]]
            waveforms = np.stack([np.resize(sound, round(WINDOW_S * rate_hz)) for sound in sounds])
            rows.append(trunk(front_end(torch.from_numpy(waveforms.astype(np.float32)))).numpy())
    return np.concatenate(rows)


def across(clips: Clips, recorder: str, c: float) -> tuple[float, float]:
    """Right in scenes that were taken out of a recorder's, and in their groups: averages over scenes."""
    own = clips.folders == recorder
    right, in_group = [], []
    for target in range(len(clips.scenes)):
        of_scene = clips.targets == target
        if min(len(set(clips.sources[of_scene & side])) for side in (own, ~own)) < LEAST_ELSEWHERE:
            continue
        asked = own & of_scene
        found = clips.fit(~asked, c)(clips.embeddings[asked]).argmax(1)
        right.append((found == target).mean())
        in_group.append((clips.groups[found] == clips.groups[target]).mean())
    return float(np.mean(right)), float(np.mean(in_group))


def in_parts(clips: Clips, of: np.ndarray, units: np.ndarray, num_parts: int, c: float) -> tuple[float, float]:
    """Right in the clips `of`, learnt without their own part of the units, and averaged over scenes.

    Of ten scenes alone where all that are asked about are of them.
    """
    names = np.unique(units[of])
    parts = np.random.default_rng(0).permutation(len(names)) % num_parts
    part_of = dict(zip(names.tolist(), parts.tolist(), strict=True))
    scenes = np.unique(clips.targets[of])
    right = np.zeros(len(of), bool)
    for part in range(num_parts):
        asked = of & np.array([part_of.get(unit, -1) == part for unit in units.tolist()])
        left_out = np.array([part_of.get(unit, -1) == part for unit in units.tolist()])
        scores = clips.fit(~left_out, c)(clips.embeddings[asked])[:, scenes]
        right[asked] = scenes[scores.argmax(1)] == clips.targets[asked]
    return float(right[of].mean()), float(np.mean([right[of & (clips.targets == t)].mean() for t in scenes]))


def main() -> None:
    """Embed, fit, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--head-start", type=float, nargs="+", default=[0.0, 2.0, 3.0])
    parser.add_argument("--c", type=float, default=0.001)
    parser.add_argument("--recorder", default="tut2017")
    arguments = parser.parse_args()
    clips = Clips(arguments.data)
    ten = np.isin(clips.targets, [clips.scenes.index(scene) for scene in DCASE_SCENES if scene in clips.scenes])
    print(
        "| head start | scenes the recorder was not known with | their groups | its other places | "
        "ten scenes by collection | the same, over scenes |\n|---|---|---|---|---|---|"
    )
    for head_start in arguments.head_start:
        clips.head_start = head_start
        of_recorder = clips.folders == arguments.recorder
        scene, group = across(clips, arguments.recorder, arguments.c)
        known, _ = in_parts(clips, of_recorder, clips.sources, 2, arguments.c)
        places = ten & (clips.folders == "places")
        ten_scenes, balanced = in_parts(clips, places, clips.origins, NUM_PARTS, arguments.c)
        values = " | ".join(f"{100 * value:.1f}" for value in (scene, group, known, ten_scenes, balanced))
        print(f"| {head_start:g} | {values} |", flush=True)


if __name__ == "__main__":
    main()
