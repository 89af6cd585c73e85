"""What a run's own training clips look like to it, for a bundle to name the ones that are nearest to an answer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgan.audio import fit
from avgan.checkpoint import Checkpoint
from avgan.data.loading import read_excerpt
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.runtime.bundle import Bundle
from avgan.runtime.neighbours import Neighbours
from avgan.runtime.network import Network
from avgan.training.data import read_sounds

MAX_CLIPS = 2_000
"""More are left out, of all labels alike: a bundle is meant to be small."""


def find_own(described: Checkpoint, data: Path) -> Manifest:
    """The clips that a run was trained on, at most MAX_CLIPS. Raises DataError where `data` holds none of them."""
    sounds = read_sounds(described.config.stage.data, data)
    clips = training_clips(sounds, described)
    if not clips:
        raise DataError(f"{data}: holds no recording that the run was trained on; name its folder")
    return replace(sounds, clips=tuple(clips))


def imagine_all(sounds: Manifest, bundle: Bundle, codebook: np.ndarray) -> Neighbours:
    """What clips look like to a bundle; codebook (K, D)."""
    network = Network(bundle)
    codes = [
        network.predict(network.embed(waveform[None])).codes[0]
        for waveform in first_windows(sounds.root, sounds.clips, bundle)
    ]
    return Neighbours(
        tuple(clip.id for clip in sounds.clips),
        tuple(clip.label for clip in sounds.clips),
        np.stack(codes),
        codebook,
        dict(zip(bundle.card.labels, bundle.card.places, strict=True)),
    )


def training_clips(sounds: Manifest, described: Checkpoint) -> list[Clip]:
    """The clips that a run was trained on, at most MAX_CLIPS, by id."""
    sources = set(described.origin.sources)
    seen: Counter[str] = Counter()
    found: list[tuple[int, Clip]] = []
    for clip in sorted(sounds.clips, key=lambda clip: clip.id):
        if clip.audio_path and clip.source_id in sources and clip.label in described.labels:
            found.append((seen[clip.label], clip))
            seen[clip.label] += 1
    found.sort(key=lambda pair: pair[0])  # the first of each label, then the second of each
    return sorted((clip for _, clip in found[:MAX_CLIPS]), key=lambda clip: clip.id)


def first_windows(root: Path, clips: Iterable[Clip], bundle: Bundle) -> Iterator[np.ndarray]:
    """The first window (L,) of each clip, as the bundle hears it."""
    card = bundle.card
    for clip in clips:
        length_s = card.window_s
        if clip.end_s is not None:
            length_s = min(length_s, clip.end_s - clip.start_s)
        waveform = read_excerpt(
            root / clip.audio_path, start_s=clip.start_s, length_s=length_s, rate_hz=card.sample_rate_hz
        )
        yield fit(waveform, round(card.window_s * card.sample_rate_hz), fill=card.short_clip_fill)
