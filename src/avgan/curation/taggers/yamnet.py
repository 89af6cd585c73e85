"""YAMNet as a tagger: 521 sounds of AudioSet, music and speech among them.

Its weights come with `avgan data get yamnet`, the names of its classes too. As its authors do, the weights of a clip
are the mean over patches of 0.96 s; ours lie side by side, without the overlap of one half.

Shapes: b sounds of one length, L samples, n patches of a sound.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from avgan.audio import read_audio
from avgan.curation.record import SOUND_RATE_HZ
from avgan.curation.taggers.labels import beside, check_count, read_labels
from avgan.curation.taggers.tagger import NetworkTagger, one_thread
from avgan.curation.taggers.weights import check_published, fill, read_weights
from avgan.data.datasets import find_file
from avgan.data.datasets.yamnet import CLASS_MAP, YAMNET
from avgan.features import LogMel, yamnet_front_end
from avgan.networks.trunks.yamnet import PATCH, YAMNet, cut_patches

FRONT_END = yamnet_front_end()
SHORTEST = (PATCH - 1) * FRONT_END.hop_length + FRONT_END.n_fft
"""Samples of one patch."""
NUM_HEARD = 1024
BLOCK = 8


class Classifier(nn.Module):
    """log_mel (b, 1, 64, T) -> weights (b, N) in [0, 1], the mean over patches."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.features = YAMNet().features
        self.classifier = nn.Linear(NUM_HEARD, num_labels)

    def forward(self, log_mel: Tensor) -> Tensor:
        patches, num_patches = cut_patches(log_mel)
        patches = patches.contiguous(memory_format=torch.channels_last)
        vectors = self.features(patches).mean((2, 3))
        weights: Tensor = self.classifier(vectors).sigmoid()
        return weights.unflatten(0, (-1, num_patches)).mean(1)


def yamnet(named: Path) -> NetworkTagger:
    """The tagger, from a file of weights or from a folder that holds it as `avgan data get yamnet` leaves it.

    Raises:
        DataError: weights or names of the classes are missing, damaged, or not YAMNet's.
    """
    path = named if named.is_file() else find_file(named, YAMNET.name)
    get_it = f"avgan data get {YAMNET.name}"
    list_path = beside(path, (CLASS_MAP,), f"{YAMNET.address}, or with: {get_it}")
    labels = read_labels(list_path)
    arrays = read_weights(path)
    # the file counts (pad, convolution, ReLU) triples, of which we have one layer each
    own = {
        f"features.{index}.{part}": arrays[f"features.{3 * index + 1}.{part}"]
        for index in range(len(arrays))
        for part in ("weight", "bias")
        if f"features.{3 * index + 1}.{part}" in arrays
    }
    own |= {name: array for name, array in arrays.items() if name.startswith("classifier.")}
    with torch.device("meta"):
        network = Classifier(len(arrays.get("classifier.bias", ())))
    fill(network, own, path)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster
    check_count(labels, network.classifier.out_features, list_path)
    front_end = LogMel(FRONT_END)

    @torch.inference_mode()
    def run(waveforms: np.ndarray) -> np.ndarray:
        with one_thread():
            weights: np.ndarray = network(front_end(torch.from_numpy(waveforms))).numpy()
        return weights

    return NetworkTagger(
        name="yamnet",
        hears=True,
        labels=labels,
        licence=YAMNET.licence,
        sha256=check_published(path, ()),
        prepare=as_waveform,
        run=run,
        block=BLOCK,
    )


def as_waveform(sound: np.ndarray) -> np.ndarray:
    """A sound (L, C) at 32 kHz -> (L,) at 16 kHz, mono; what is shorter than a patch ends in silence."""
    waveform = read_audio(
        np.ascontiguousarray(sound), rate_hz=SOUND_RATE_HZ, target_rate_hz=FRONT_END.sample_rate_hz
    )
    return np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
