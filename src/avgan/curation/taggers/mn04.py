"""mn04 as a tagger: 527 sounds of AudioSet, music and speech among them. Its weights come with the package.

Shapes: b sounds of one length, L samples, C channels.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from avgan.audio import read_audio
from avgan.curation.record import SOUND_RATE_HZ
from avgan.curation.taggers.tagger import NetworkTagger, one_thread
from avgan.errors import DataError
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import MN04Config, mn04_front_end, tag_names, weights

FRONT_END = mn04_front_end()
SHORTEST = MN04Config.min_time_steps * FRONT_END.hop_length
"""Samples that give the network its shortest log-mel."""
BLOCK = 8
"""Sounds in one pass: more are no faster on a core."""


def mn04(named: Path) -> NetworkTagger:
    """The tagger; it needs no file. Raises DataError where one is named all the same."""
    if named.is_file():
        raise DataError(f"{named}: mn04 comes with its own weights; say mn04 alone")
    config = MN04Config()
    network, front_end = config.build().eval(), LogMel(FRONT_END)

    @torch.inference_mode()
    def run(waveforms: np.ndarray) -> np.ndarray:
        with one_thread():
            vectors = network(front_end(torch.from_numpy(waveforms)))
            probabilities: np.ndarray = network.tag(vectors).sigmoid().numpy()
        return probabilities

    assert config.pretrained is not None
    return NetworkTagger(
        name="mn04",
        hears=True,
        labels=tag_names(),
        licence=config.pretrained.licence,
        sha256=hashlib.sha256(weights()).hexdigest(),
        prepare=as_waveform,
        run=run,
        block=BLOCK,
    )


def as_waveform(sound: np.ndarray) -> np.ndarray:
    """A sound (L, C) at 32 kHz -> (L,) at 16 kHz, mono; what is too short for the network ends in silence."""
    waveform = read_audio(
        np.ascontiguousarray(sound), rate_hz=SOUND_RATE_HZ, target_rate_hz=FRONT_END.sample_rate_hz
    )
    return np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
