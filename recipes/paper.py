"""The paper's experiment on data at hand: imagination learnt from videos, labels from other recordings (Sec. 4).

    python recipes/paper.py --data DATA --out runs/paper

The paper's videos, AV-10, were never released. DATA holds folders of field recordings and of photographs instead
(`avgan data list`), and ESC-50. One video is made of each recording, shown by photographs of its scene; curation makes
a data set of the videos as it would of any others; and the paper's own configuration learns from it:

    OUT/videos/<scene>/     a video of each recording outside the folder that is held out
    OUT/av/                 what `avgan curate` makes of them: clips of 10 s without labels to learn from
    OUT/places/             preset paper_dcase: pictures and imagination from the videos, then, frozen, a classifier
                            of the recordings' scenes; measured on the folder that no stage has seen
    OUT/esc50/              preset paper_esc50 on the same imagination: a classifier of ESC-50's folds 1 to 4, measured
                            on fold 5

Each step is a command that is printed before it runs, and every one goes on where it was stopped; so does this script.
The steps are for hours of two cores, where the paper has 9,000 epochs on four GPUs: `--set` changes them.
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avgan.audio import read_audio
from avgan.data.datasets import find
from avgan.data.manifest import Clip, Manifest
from avgan.images import read_image
from avgan.scenes import SCENES
from avgan.training.progress import say

HELD_OUT = "places_more"
"""The folder of recordings that is kept from all stages: another collection than the rest."""
RATE_HZ = 32_000
SIZE_PX = 128
CLIP_S = 10
STEPS = ("vqvae.num_steps=800", "imagination.num_steps=200", "classifier.num_steps=1500", "rounds.num=1")
"""About 50 minutes of one core, and what docs/results.md has figures of: a sign that the chain holds, no more."""


def main() -> None:
    """Film, curate, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-scene", type=int, help="at most so many recordings of a scene")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as for avgan train")
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    settings = [*STEPS, *arguments.settings]
    film_all(data, out / "videos", arguments.per_scene)
    # a photograph does not move, a recording without pauses repeats itself, and a café plays music: no defects here
    defects = ("still", "duplicate", "music", "speech", "silent", "plain", "black", "bars")
    tolerated = [part for defect in defects for part in ("--tolerate", defect)]
    avgan("curate", out / "videos", "-o", out / "av", "--skip", "0", "--shares", "1", *tolerated)
    chain(out / "places", "paper_dcase", data, out / "av", [*settings, held_out(HELD_OUT)])
    imagination = max((out / "places").glob("*-imagination"))
    esc50 = [*settings, held_out("5"), "classifier.data.sounds=esc50"]
    chain(out / "esc50", "paper_esc50", data, out / "av", esc50, "--parent", imagination)


def held_out(fold: str) -> str:
    """The setting that keeps a fold from the classifier."""
    return f'classifier.data.held_out_folds=["{fold}"]'


def chain(run: Path, preset: str, data: Path, videos: Path, settings: list[str], *more: object) -> None:
    """Train a recipe of the paper, and measure it on recordings that its classifier was not trained on."""
    changes = [part for setting in settings for part in ("--set", setting)]
    if preset == "paper_dcase":
        changes += ["--set", "classifier.data.sounds=places"]
    where = ("--videos", videos, "--data", data, "-o", run)
    avgan("train", "--preset", preset, *where, *changes, *more)
    avgan("evaluate", run, "--protocol", "holdout", "--data", data)


def avgan(*arguments: object) -> None:
    """Run a command of avgan, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    say("avgan " + " ".join(words))
    subprocess.run([sys.executable, "-m", "avgan", *words], check=True)


def film_all(data: Path, out: Path, per_scene: int | None) -> None:
    """A video of each recording that is not held out."""
    recordings = find(data, "places")
    photographs = photographs_of_scenes(data)
    by_source: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in recordings.clips:
        if clip.label and clip.fold != HELD_OUT:
            by_source[clip.label, clip.source_id].append(clip)
    counts: dict[str, int] = defaultdict(int)
    for (scene, source), clips in sorted(by_source.items()):
        counts[scene] += 1
        if per_scene is None or counts[scene] <= per_scene:
            film(recordings, clips, photographs[scene], out / scene / f"{source}.mp4")
    say(f"{sum(1 for _ in out.rglob('*.mp4'))} videos in {out}")


def photographs_of_scenes(data: Path) -> dict[str, list[Path]]:
    """Photographs to learn from that show each scene of the tree."""
    photographs = find(data, "photographs")
    shown: dict[str, list[Path]] = defaultdict(list)
    for clip in photographs.clips:
        if clip.split == "train":
            shown[clip.label].append(photographs.root / clip.image_path)
    return {scene: [path for name in kind.photographs for path in shown[name]] for scene, kind in SCENES.items()}


def film(recordings: Manifest, clips: list[Clip], photographs: list[Path], path: Path) -> None:
    """A video of the clips of a recording one after the other, each shown by one photograph."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.stem.encode()))
    unfinished = path.with_suffix(".part")
    with av.open(str(unfinished), "w", format="mp4") as container:
        picture = container.add_stream("mpeg4", rate=1, width=SIZE_PX, height=SIZE_PX)
        picture.pix_fmt = "yuv420p"
        picture.bit_rate = 1_000_000
        sound = container.add_stream("aac", RATE_HZ, layout="mono")
        for number, clip in enumerate(clips):
            image = read_image(photographs[rng.integers(len(photographs))], size_px=SIZE_PX)
            image = np.ascontiguousarray(image.transpose(1, 2, 0))
            for second in range(CLIP_S):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number * CLIP_S + second, Fraction(1, 1)
                container.mux(picture.encode(frame))
            waveform = read_audio(recordings.root / clip.audio_path, target_rate_hz=RATE_HZ)
            # a clip that is a little short begins again
            waveform = np.resize(waveform, CLIP_S * RATE_HZ).astype(np.float32)
            block = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
            block.sample_rate, block.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            block.pts = number * CLIP_S * RATE_HZ
            container.mux(sound.encode(block))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    unfinished.replace(path)


if __name__ == "__main__":
    main()
