"""Taggers of 527 sounds of AudioSet: mn04, whose weights come with the package, and CNN14 and CNN10 (PANNs).

CNN14 and CNN10 are those of Kong et al. 2020, from their published checkpoints. The paper tags with a "9-layer CNN" of
the same authors, trained on AudioSet, of which no checkpoint was published; CNN10, which is that network and one dense
layer, is the nearest that was. CNN14 is the better one.

    log_mel (b, 1, T, 64) -> batch norm by band -> blocks of two 3 x 3 convolutions, each block but the sixth
    followed by a mean over 2 x 2 -> mean over bands -> maximum + mean over time -> dense, ReLU -> dense, sigmoid

Shapes: b sounds of one length, L samples, C channels, T time steps, N labels.
"""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.audio import read_audio
from avgan.curation.record import SOUND_RATE_HZ
from avgan.curation.taggers.tagger import Tagger, beside, check_count, check_published, on_one_thread, read_labels
from avgan.download import Remote
from avgan.errors import DataError
from avgan.features import FrontEndConfig, LogMel, mel_filterbank
from avgan.networks.trunks.mn04 import MN04Config, mn04_front_end, tag_names, weights
from avgan.weights import fill, find_weights, read_arrays

ADDRESS = "https://zenodo.org/records/3987831"
CNN14_FILE = Remote(
    filename="Cnn14_mAP=0.431.pth", url=ADDRESS, bytes=327_428_481, md5="541141fa2ee191a88f24a3219fff024e"
)
CNN10_FILE = Remote(
    filename="Cnn10_mAP=0.380.pth", url=ADDRESS, bytes=25_237_595, md5="bfb1f1f9968938fa8ef4012b8471f5f6"
)
LABEL_FILES = ("class_labels_indices.csv", "audioset_class_labels_indices.csv")
LABELS_ADDRESS = "https://research.google.com/audioset/download.html"
LICENCE = "CC BY 4.0 (Kong, Cao, Iqbal, Wang, Wang, Plumbley 2020)."

CNN14_WIDTHS = (64, 128, 256, 512, 1024, 2048)  # as published
CNN10_WIDTHS = CNN14_WIDTHS[:4]
MAX_POOLED = 5
"""Blocks that are followed by a pooling; CNN14's sixth is not."""

FRONT_END = FrontEndConfig(
    sample_rate_hz=32_000,
    hop_length=320,
    num_mels=64,
    f_min_hz=50.0,
    f_max_hz=14_000.0,
    centre=False,  # the ends are mirrored before, as the published networks had it
)
MIN_SAMPLES = 2**MAX_POOLED * FRONT_END.hop_length
"""Samples that the poolings reduce to one time step."""
SAME_FILTERS = 1e-4
"""By how much the mel filters in a checkpoint may differ from ours, whose largest is 0.02."""
BLOCK = 4
"""Sounds in one pass of CNN14; mn04, which is smaller, takes twice as many. More are no faster on a core."""


class Block(nn.Module):
    """(b, C, T, F) -> (b, C', T, F): two convolutions, each with batch norm and ReLU."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.bn2 = nn.BatchNorm2d(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(hidden)))
        return F.relu(self.bn2(self.conv2(hidden)))


class AudioSetCNN(nn.Module):
    """log_mel (b, 1, 64, T) -> weights (b, N) in [0, 1]. Its parts are named as in the checkpoints."""

    def __init__(self, widths: tuple[int, ...], num_labels: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(FRONT_END.num_mels)
        self.num_blocks = len(widths)
        for number, (num_in, num_out) in enumerate(zip((1, *widths), widths, strict=False), 1):
            self.add_module(f"conv_block{number}", Block(num_in, num_out))
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.fc_audioset = nn.Linear(widths[-1], num_labels)

    def forward(self, log_mel: Tensor) -> Tensor:
        hidden = self.bn0(log_mel.transpose(1, 2)).permute(0, 2, 3, 1)
        for number in range(1, self.num_blocks + 1):
            hidden = self.get_submodule(f"conv_block{number}")(hidden)
            if number <= MAX_POOLED:
                hidden = F.avg_pool2d(hidden, 2)
        by_time = hidden.mean(3)
        hidden = F.relu(self.fc1(by_time.amax(2) + by_time.mean(2)))
        weights: Tensor = self.fc_audioset(hidden).sigmoid()
        return weights


def cnn14(named: Path, *, widths: tuple[int, ...] = CNN14_WIDTHS) -> Tagger:
    """CNN14 from its checkpoint, or from a folder that holds it, with the 527 labels beside it.

    Raises DataError: one of them is missing, damaged, or of another network.
    """
    return _tagger("cnn14", named, CNN14_FILE, widths)


def cnn10(named: Path, *, widths: tuple[int, ...] = CNN10_WIDTHS) -> Tagger:
    """CNN10, see `cnn14`."""
    return _tagger("cnn10", named, CNN10_FILE, widths)


def _tagger(name: str, named: Path, published: Remote, widths: tuple[int, ...]) -> Tagger:
    path = find_weights(
        named, [published.filename], f"get it from {published.url}, or do without: --sounds none, --scenes none"
    )
    list_path = beside(path, LABEL_FILES, LABELS_ADDRESS)
    labels = read_labels(list_path)
    sha256 = check_published(path, published)
    arrays = read_arrays(path)
    if f"conv_block{len(widths) + 1}.conv1.weight" in arrays:
        raise DataError(f"{path}: has more than {len(widths)} blocks; it is not {name}")
    _check_front_end(arrays.get("logmel_extractor.melW"), path)
    with torch.device("meta"):
        network = AudioSetCNN(widths, len(arrays.get("fc_audioset.bias", ())))
    fill(network, arrays, path)
    check_count(labels, network.fc_audioset.out_features, list_path)
    front_end = LogMel(FRONT_END)
    return Tagger(
        name=name,
        takes_sounds=True,
        labels=labels,
        licence=LICENCE,
        sha256=sha256,
        prepare=partial(as_waveform, FRONT_END.sample_rate_hz, MIN_SAMPLES),
        run=on_one_thread(lambda waveforms: network(log_mel_of(front_end, waveforms))),
        block=BLOCK,
    )


def log_mel_of(front_end: LogMel, waveforms: Tensor) -> Tensor:
    """Waveforms (b, L) at 32 kHz -> log-mel (b, 1, 64, T) in dB, one step for each 320 samples and one more."""
    margin = FRONT_END.n_fft // 2
    log_mel: Tensor = front_end(F.pad(waveforms[:, None], (margin, margin), mode="reflect")[:, 0])
    return log_mel


def as_waveform(rate_hz: int, min_samples: int, sound: np.ndarray) -> np.ndarray:
    """A sound (L, C) at 32 kHz -> (L,), mono, at another rate; silence is added to what is too short for a network."""
    waveform = read_audio(np.ascontiguousarray(sound), rate_hz=SOUND_RATE_HZ, target_rate_hz=rate_hz)
    return np.pad(waveform, (0, max(0, min_samples - len(waveform))))


def _check_front_end(filters: Tensor | None, path: Path) -> None:
    """Compare the mel filters (K, 64) that a checkpoint carries with ours. Raises DataError where they differ."""
    if filters is None:
        return
    own = torch.from_numpy(mel_filterbank(FRONT_END)).T
    if filters.shape != own.shape or not (filters - own).abs().max() < SAME_FILTERS:
        raise DataError(
            f"{path}: was trained on other spectra than {FRONT_END.sample_rate_hz} Hz with "
            f"{FRONT_END.num_mels} bands; take {CNN14_FILE.filename} from {ADDRESS}"
        )


def mn04(named: Path) -> Tagger:
    """The tagger; it needs no file. Raises DataError where one is named all the same."""
    if named.is_file():
        raise DataError(f"{named}: mn04 comes with its own weights; say mn04 alone")
    config, mel = MN04Config(), mn04_front_end()
    min_samples = config.min_time_steps * mel.hop_length
    network, front_end = config.build().eval(), LogMel(mel)
    assert config.pretrained is not None
    return Tagger(
        name="mn04",
        takes_sounds=True,
        labels=tag_names(),
        licence=config.pretrained.licence,
        sha256=hashlib.sha256(weights()).hexdigest(),
        prepare=partial(as_waveform, mel.sample_rate_hz, min_samples),
        run=on_one_thread(lambda waveforms: network.tag(network(front_end(waveforms))).sigmoid()),
        block=2 * BLOCK,
    )
