"""How strongly a sampler should keep to the sound: pictures of recordings that a run learnt from, at several guidances.

    python benchmarks/guidance.py --data DATA --run RUN/flow --out guidance.jpg [--guidances 1 2 3 4 6] [--clips 240]

Held-out recordings are left alone, so that the setting may be chosen by this. Prints for each guidance how often the
scene classifier of the package sees a scene of the recording's label in the picture, KID against as many held-out
photographs of the same labels, and how many kinds of pictures there are; writes a sheet, a row for each guidance, a
column for each label.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avgan import checkpoint
from avgan.data.datasets import DATASETS, find
from avgan.data.loading import ImageStore
from avgan.evaluation.pictures.exhibits import decoded
from avgan.evaluation.pictures.judge import imagine, sample
from avgan.evaluation.pictures.measures import effective_number, kernel_distance, kinds_of
from avgan.evaluation.pictures.scene_classifier import load_classifier
from avgan.images import grid
from avgan.networks.flow import FlowSampler
from avgan.training.data import divide_images, read_sounds

NUM_KINDS = 50


@torch.inference_mode()
def main() -> None:
    """Sample, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guidances", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0, 6.0])
    parser.add_argument("--clips", type=int, default=240)
    arguments = parser.parse_args()
    networks, described = checkpoint.load_finished(arguments.run)
    sampler, section = networks.eval().sampler, described.config.stage.data
    assert isinstance(sampler, FlowSampler)
    classifier, rng = load_classifier(), np.random.default_rng(0)
    shows = DATASETS[section.sounds].photographs_of_label
    learnt = set(described.origin.sources)
    sounds = read_sounds(section, arguments.data)
    sounds = sounds.select(
        lambda clip: clip.source_id in learnt and bool(set(shows.get(clip.label, ())) & set(classifier.scenes))
    )
    clips = [sounds.clips[row] for row in rng.permutation(len(sounds))[: arguments.clips]]
    sounds = replace(sounds, clips=tuple(sorted(clips, key=lambda clip: clip.label)))
    _, photographs = divide_images(find(arguments.data, section.images))
    rows = [
        rng.choice([row for row, image in enumerate(photographs.clips) if image.label in shows[clip.label]])
        for clip in sounds.clips
    ]
    real = classifier.apply(ImageStore(photographs, cache_bytes=0).get(np.array(rows)))
    kinds = kinds_of(real.features, min(NUM_KINDS, len(rows) // 4))
    features = imagine(networks, described, sounds)
    labels = [clip.label for clip in sounds.clips]
    shown = [labels.index(label) for label in sorted(set(labels))]

    def figures(pictures: np.ndarray) -> str:
        seen = classifier.apply(pictures)
        best = seen.logits.argmax(1)
        right = [classifier.scenes[scene] in shows[label] for scene, label in zip(best, labels, strict=True)]
        distance = kernel_distance(seen.features, real.features)
        return f"{np.mean(right):.1%} | {distance:.2f} | {effective_number(seen.features, kinds):.1f} |"

    print(f"{len(labels)} recordings\n\n| guidance | scene seen | KID | kinds |\n|---|---|---|---|")
    sheet = []
    for guidance in arguments.guidances:
        sampler.config = sampler.config.model_copy(update={"guidance": guidance})
        pictures = decoded(networks.vqvae, sample(networks, features, sounds))
        sheet.append([*pictures[shown]])
        print(f"| {guidance:g} | {figures(pictures)}", flush=True)
    names = [f"guidance {guidance:g}" for guidance in arguments.guidances]
    grid(sheet, labels=names).convert("RGB").save(arguments.out, quality=90)


if __name__ == "__main__":
    main()
