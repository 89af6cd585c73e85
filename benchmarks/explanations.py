"""Do explanations point at what made the answer? Measured on clips that the model never heard.

    python benchmarks/explanations.py --data DATA [--model BUNDLE] [--clips 100]

DATA holds ESC-50; its fold 5 is used, which the shipped model was not trained on. The first three clips of each class
are left out: with them the size of the cells was chosen. Four tables are printed, in Markdown:

- removal: a tenth of the time-frequency plane is filtered out of the sound itself, or kept alone: the most salient
  tenth, the loudest, and a random one (the most salient moved elsewhere);
- pointing: halves of two clips follow each other, equally loud; which share of the saliency lies in the half that the
  answer is about? Loudness cannot know;
- neighbours: how many of the nearest training clips share the scene;
- cost: seconds for an explanation on one core, beside hearing and answering the window once.

Intervals are 95 %, from resampling the recordings that the clips were cut from.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from avgan.audio import fit, read_audio
from avgan.data.datasets import find
from avgan.data.manifest import Clip
from avgan.evaluation.outliers import loudest
from avgan.metrics import bootstrap_interval
from avgan.runtime import Model, load
from avgan.runtime.explanation import Explanation

SHARE = 0.1
LEFT_OUT = 3
FRAME, HOP = 512, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--clips", type=int, default=100)
    options = parser.parse_args()
    model = load(options.model, num_threads=1)
    sounds = find(options.data, "esc50")
    by_label: dict[str, list[Clip]] = {}
    for clip in sorted(sounds.clips, key=lambda clip: clip.id):
        if clip.fold == "5":
            by_label.setdefault(clip.label, []).append(clip)
    turns = [clips[turn] for turn in range(LEFT_OUT, 8) for clips in by_label.values()]
    chosen = turns[: options.clips]

    def hear(clip: Clip) -> np.ndarray:
        rate_hz = model.card.sample_rate_hz
        waveform = read_audio(sounds.root / clip.audio_path, target_rate_hz=rate_hz)
        return fit(waveform, round(model.card.window_s * rate_hz))

    removal(model, chosen, hear)
    pointing(model, chosen, hear)
    neighbours(model, chosen, hear)


def removal(model: Model, clips: Sequence[Clip], hear: Callable[[Clip], np.ndarray]) -> None:
    """What filtering a tenth out of the sound, or keeping only it, does to the answer."""
    rng = np.random.default_rng(0)
    kinds = ("most salient", "loudest", "random")
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    whole: list[float] = []
    seconds: list[float] = []
    hearing: list[float] = []
    for clip in clips:
        waveform = hear(clip)
        began = time.process_time()
        explained = model.explain(waveform, model.card.sample_rate_hz, start_s=0.0)
        explaining_ends = time.process_time()
        model.network.predict(model.network.embed(waveform[None]))
        seconds.append(explaining_ends - began)
        hearing.append(time.process_time() - explaining_ends)
        probability = share_of(model, waveform, explained)
        whole.append(probability)
        for kind, tenth in zip(kinds, tenths(explained, rng), strict=True):
            for what, gain in (("removed", ~tenth), ("alone", tenth)):
                left = share_of(model, filtered(waveform, explained, gain), explained)
                rows.setdefault((kind, what), []).append((left, odds(left) - odds(probability)))
    sources = [clip.source_id for clip in clips]
    print(f"\n{len(clips)} clips; the answer's probability is {interval(whole, sources)}\n")
    print("| tenth | probability without it | change of log-odds | with it alone | change |")
    print("|---|---|---|---|---|")
    for kind in kinds:
        cells = [
            interval([row[column] for row in rows[kind, what]], sources)
            for what in ("removed", "alone")
            for column in (0, 1)
        ]
        print(f"| {kind} | {' | '.join(cells)} |")
    lower = [a[1] < b[1] for a, b in zip(rows[kinds[0], "removed"], rows[kinds[2], "removed"], strict=True)]
    print(f"\nthe most salient lowers it more than the random: {interval(lower, sources)} of clips")
    print(f"\n{np.median(seconds):.2f} s for an explanation, {np.median(hearing):.3f} s for an answer")


def pointing(model: Model, clips: Sequence[Clip], hear: Callable[[Clip], np.ndarray]) -> None:
    """Which share of the saliency lies in the half that the answer is about."""
    order = np.random.default_rng(1).permutation(len(clips))
    salient, loud, peaks, sources = [], [], [], []
    num_others = 0
    for first, second in zip(order[::2], order[1::2], strict=False):
        pair = (clips[first], clips[second])
        waveform = np.concatenate([loudest_half(hear(clip)) for clip in pair])
        explained = model.explain(waveform, model.card.sample_rate_hz, start_s=0.0)
        right = [clip.label == explained.label for clip in pair]
        if sum(right) != 1:
            num_others += 1
            continue
        later = explained.times_s >= model.card.window_s / 2
        half = later if right[1] else ~later
        positive = explained.saliency.clip(min=0).sum(0)
        energy = np.exp(2 * explained.log_mel.astype(np.float64)).sum(0)
        salient.append(positive[half].sum() / positive.sum())
        loud.append(energy[half].sum() / energy.sum())
        peaks.append(bool(half[explained.saliency.max(0).argmax()]))
        sources.append(pair[0].source_id)
    print(f"\n{len(salient)} mixtures; {num_others} left out, whose answer is about neither half\n")
    print("| share in the right half | |\n|---|---|")
    print(f"| of saliency | {interval(salient, sources)} |")
    print(f"| of peaks | {interval(peaks, sources)} |")
    print(f"| of energy | {interval(loud, sources)} |")


def neighbours(model: Model, clips: Sequence[Clip], hear: Callable[[Clip], np.ndarray]) -> None:
    """How many of the nearest training clips share the scene of a clip."""
    known = model.neighbours
    if known is None:
        print("\nthe bundle knows no neighbours")
        return
    place = known.scene_of_label
    everyone = np.array([place[label] for label in known.labels])
    shares: dict[str, list[float]] = {"nearest": [], "five nearest": [], "chance": []}
    for clip in clips:
        codes = model.network.codes(model.network.predict(model.network.embed(hear(clip)[None])).features)
        same = [each.scene == place[clip.label] for each in known.nearest(codes[0], 5)]
        shares["nearest"].append(same[0])
        shares["five nearest"].append(float(np.mean(same)))
        shares["chance"].append(float(np.mean(everyone == place[clip.label])))
    print("\n| training clips | of the same scene |\n|---|---|")
    sources = [clip.source_id for clip in clips]
    for name, values in shares.items():
        print(f"| {name} | {interval(values, sources)} |")


def tenths(explained: Explanation, rng: np.random.Generator) -> list[np.ndarray]:
    """Masks (F, T): the most salient tenth, the loudest, and the most salient moved to another place."""
    salient = top(explained.saliency)
    num_bands, num_steps = salient.shape
    by = (int(rng.integers(num_bands)), int(rng.integers(num_steps // 5, num_steps * 4 // 5)))
    return [salient, top(explained.log_mel), np.roll(salient, by, (0, 1))]


def top(values: np.ndarray) -> np.ndarray:
    """The largest tenth of values (F, T), as a mask."""
    mask = np.zeros(values.size, bool)
    mask[np.argsort(-values, axis=None, kind="stable")[: round(SHARE * values.size)]] = True
    return mask.reshape(values.shape)


def filtered(waveform: np.ndarray, explained: Explanation, gain: np.ndarray) -> np.ndarray:
    """A waveform (L,) of which only what `gain` (F, T) names is left, by its short-time spectrum."""
    rate_hz = len(waveform) / (explained.end_s - explained.start_s)
    padded = np.pad(waveform, (FRAME, FRAME + -len(waveform) % HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1]
    middles_s = (np.arange(len(frames)) * HOP - FRAME / 2) / rate_hz
    steps = np.abs(explained.times_s[:, None] - middles_s).argmin(0)
    bins_hz = np.fft.rfftfreq(FRAME, 1 / rate_hz)
    bands = np.searchsorted(explained.bands_hz, bins_hz) - 1
    kept = gain[bands.clip(0, len(gain) - 1)][:, steps].T
    parts = np.fft.irfft(np.fft.rfft(frames * window, axis=1) * kept, axis=1) * window
    sound, weight = np.zeros(len(padded)), np.full(len(padded), 1e-6)
    for index, part in enumerate(parts):
        sound[index * HOP : index * HOP + FRAME] += part
        weight[index * HOP : index * HOP + FRAME] += window**2
    return (sound / weight)[FRAME : FRAME + len(waveform)].astype(np.float32)


def loudest_half(waveform: np.ndarray) -> np.ndarray:
    """The loudest stretch of half a waveform's length, brought to one loudness."""
    part = loudest(waveform, len(waveform) // 2)
    return 0.05 * part / np.sqrt((part.astype(np.float64) ** 2).mean() + 1e-12).astype(np.float32)


def share_of(model: Model, waveform: np.ndarray, explained: Explanation) -> float:
    """How probable the explained label is for a waveform."""
    probabilities = model.network.predict(model.network.embed(waveform[None]))[0][0]
    names = model.card.labels if explained.label in model.card.labels else model.card.scenes
    return float(sum(p for p, name in zip(probabilities, names, strict=True) if name == explained.label))


def odds(probability: float) -> float:
    """Log-odds of a probability that single precision may have rounded to 1."""
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(probability / (1 - probability)))


def interval(values: Sequence[float], sources: Sequence[str]) -> str:
    """A mean with its interval, resampled by source."""
    array = np.asarray(values, np.float64)
    low, high = bootstrap_interval(array, sources)
    return f"{array.mean():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
