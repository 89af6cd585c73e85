"""Whether the words that mn04 tells of a sound are right: ESC-50, one label a clip, at several thresholds.

    python benchmarks/tags.py --data data/esc50 --fold 5

A word is right where it stands for the label or for what a tag_words would also call it (`RIGHT`); other sounds in a
clip are not labelled and count as wrong, so that the share of right words is a lower bound. 400 clips take 20 s.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from avgan.audio import read_audio
from avgan.data.datasets import DATASETS
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import MN04Config, tag_names
from avgan.runtime.bundle import Tags
from avgan.runtime.sounds import TagWords

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)

RIGHT = {
    "dog": "dog",
    "rooster": "rooster, chicken",
    "pig": "pig",
    "cow": "cattle",
    "frog": "frogs",
    "cat": "cat",
    "hen": "chicken, poultry, birds",
    "insects": "insects, fly, bees, mosquito, crickets",
    "sheep": "sheep, goat",
    "crow": "crow, birds",
    "rain": "rain, water",
    "sea_waves": "waves, water",
    "crackling_fire": "fire",
    "crickets": "crickets, insects",
    "chirping_birds": "birds",
    "water_drops": "dripping, water",
    "wind": "wind, wind on the microphone",
    "pouring_water": "pouring, water, tap, stream",
    "toilet_flush": "toilet flush, water",
    "thunderstorm": "thunder, rain",
    "crying_baby": "baby crying, crying",
    "sneezing": "sneezing",
    "clapping": "applause, crowd",
    "breathing": "breathing",
    "coughing": "coughing",
    "footsteps": "footsteps, running",
    "laughing": "laughter",
    "brushing_teeth": "toothbrush, electric toothbrush",
    "snoring": "snoring, breathing",
    "drinking_sipping": "eating, water, gurgling, pouring",
    "door_wood_knock": "knocking, thump, door, wood",
    "mouse_click": "clicking, typing",
    "keyboard_typing": "typing, clicking",
    "door_wood_creaks": "creak, squeak, door",
    "can_opening": "burst",
    "washing_machine": "engine, hum, rumble",
    "vacuum_cleaner": "vacuum cleaner, hair dryer, engine",
    "clock_alarm": "alarm clock, alarm, beep, telephone",
    "clock_tick": "clock",
    "glass_breaking": "glass breaking, glass",
    "helicopter": "helicopter, aircraft",
    "chainsaw": "chainsaw, engine, lawn mower",
    "siren": "siren",
    "car_horn": "horn, traffic, vehicle, car",
    "engine": "engine, rumble, vehicle, car, truck, motorcycle",
    "train": "train, train horn, vehicle",
    "church_bells": "church bells, bells",
    "airplane": "airplane, aircraft, engine, vehicle",
    "fireworks": "fireworks, explosion",
    "hand_saw": "sawing, wood, tools",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of ESC-50")
    parser.add_argument("--fold", default="5")
    options = parser.parse_args()
    clips = [clip for clip in DATASETS["esc50"].read(options.data).clips if clip.fold == options.fold]
    config = MN04Config()
    network, front_end = config.build().eval(), LogMel(config.front_end)
    tags = []
    for clip in clips:
        waveform = torch.from_numpy(read_audio(options.data / clip.audio_path).copy())[None]
        with torch.no_grad():
            tags.append(network.tag(network(front_end(waveform))).sigmoid().numpy()[0])
    print("| reported from | words | of them right, % | clips with a right word, % | with none, % |")
    print("|---|---|---|---|---|")
    for threshold in THRESHOLDS:
        tag_words = TagWords(Tags(names=tag_names(), thresholds=(threshold,)))
        found = tag_words.choose(np.stack(tags))
        right = [
            [word in RIGHT[clip.label].split(", ") for word in words] for clip, words in zip(clips, found, strict=True)
        ]
        num_words = sum(map(len, right))
        shares = [
            100 * sum(map(sum, right)) / max(num_words, 1),
            100 * np.mean([any(each) for each in right]),
            100 * np.mean([not each for each in right]),
        ]
        print(f"| {threshold} | {num_words} | " + " | ".join(f"{share:.0f}" for share in shares) + " |")


if __name__ == "__main__":
    main()
