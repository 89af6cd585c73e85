"""The networks are the published ones: names, sizes, and the function that plain formulas give."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import published_files as files
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan.curation.taggers import audioset, open_tagger, places365
from avgan.curation.taggers.tagger import check_published
from avgan.download import Remote
from avgan.errors import DataError

Tensors = dict[str, Tensor]


def as_tensors(arrays: files.Arrays) -> Tensors:
    return {name: torch.from_numpy(array).double() for name, array in arrays.items()}


def norm(hidden: Tensor, w: Tensors, name: str) -> Tensor:
    """Batch norm along axis 1, written out."""
    mean, variance, scale, shift = (
        w[f"{name}.{part}"][None, :, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (hidden - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def plain_cnn(sound: np.ndarray, w: Tensors, num_blocks: int) -> Tensor:
    """Kong et al.'s network by its formulas, its spectra by librosa."""
    librosa = pytest.importorskip("librosa")
    mel = librosa.feature.melspectrogram(
        y=sound.mean(1), sr=32_000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14_000, pad_mode="reflect"
    )
    decibels = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None)
    hidden = torch.from_numpy(decibels).double()[None, :, :, None]  # (1, F, T, 1)
    hidden = norm(hidden, w, "bn0").permute(0, 3, 2, 1)
    for number in range(1, num_blocks + 1):
        for layer in "12":
            hidden = F.conv2d(hidden, w[f"conv_block{number}.conv{layer}.weight"], padding=1)
            hidden = norm(hidden, w, f"conv_block{number}.bn{layer}").relu()
        if number < 6:
            hidden = F.avg_pool2d(hidden, 2)
    by_time = hidden.mean(3)
    hidden = by_time.max(2).values + by_time.mean(2)
    hidden = (hidden @ w["fc1.weight"].T + w["fc1.bias"]).relu()
    return torch.sigmoid(hidden @ w["fc_audioset.weight"].T + w["fc_audioset.bias"])


@pytest.mark.parametrize("name", ["cnn14", "cnn10"])
def test_cnn_is_its_formulas(name: str, tmp_path: Path) -> None:
    widths = files.NARROW[name]
    arrays = files.cnn_arrays(widths, seed=3)
    path = files.save_checkpoint(arrays, tmp_path / "own.pth", prefix="module.")
    files.write_sounds(tmp_path / "class_labels_indices.csv", 527)
    opener = audioset.cnn14 if name == "cnn14" else audioset.cnn10
    sounds = [files.noise(2.0, seed=1), files.noise(1.3, seed=2) * np.float32(0.01)]
    weights = opener(path, widths=widths).tag(sounds)
    expected = torch.cat([plain_cnn(sound, as_tensors(arrays), len(widths)) for sound in sounds])
    np.testing.assert_allclose(weights, expected.numpy(), atol=1e-4)
    assert np.abs(weights[0] - weights[1]).max() > 0.01


def test_a_checkpoint_of_another_network_or_rate_is_refused(tmp_path: Path) -> None:
    files.write_sounds(tmp_path / "class_labels_indices.csv", 527)
    widths = files.NARROW["cnn14"]
    arrays = files.cnn_arrays(widths)
    path = files.save_checkpoint(arrays, tmp_path / "own.pth")
    with pytest.raises(DataError, match=r"more than 4 blocks; it is not cnn10"):
        audioset.cnn10(path, widths=widths[:4])
    with pytest.raises(DataError, match=r"'conv_block1.*has the shape \(2, 1, 3, 3\), not \(64, 1"):
        audioset.cnn14(path)
    arrays["logmel_extractor.melW"] = arrays["logmel_extractor.melW"][:257]
    files.save_checkpoint(arrays, path)
    with pytest.raises(DataError, match="other spectra than 32000 Hz"):
        audioset.cnn14(path, widths=widths)
    arrays = files.cnn_arrays(widths)
    arrays["fc1.bias"][1] = np.nan
    files.save_checkpoint(arrays, path)
    with pytest.raises(DataError, match=r"'fc1.bias' holds what is no number"):
        audioset.cnn14(path, widths=widths)


def plain_vgg(picture: np.ndarray, w: Tensors) -> Tensor:
    """Simonyan and Zisserman's network D by its formulas, the picture as Caffe's users give it."""
    from PIL import Image

    squeezed = Image.fromarray(picture).resize((256, 256), Image.Resampling.LANCZOS)
    seen = np.asarray(squeezed, np.float64)[16:240, 16:240, ::-1]
    hidden = torch.from_numpy(seen - [104.05, 112.51, 116.68]).permute(2, 0, 1)[None]
    for block, count in enumerate(files.CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            hidden = F.conv2d(hidden, w[f"{name}.weight"], w[f"{name}.bias"], padding=1).relu()
        hidden = F.max_pool2d(hidden, 2, 2)
    hidden = hidden.reshape(1, -1)
    for name in ("fc6", "fc7"):
        hidden = (hidden @ w[f"{name}.weight"].T + w[f"{name}.bias"]).relu()
    return (hidden @ w["fc8a.weight"].T + w["fc8a.bias"]).softmax(1)


def open_vgg(path: Path) -> places365.Tagger:
    files.write_places(path.parent / "categories_places365.txt")
    return places365.vgg16(path, widths=files.NARROW["vgg16"], num_dense=files.NUM_DENSE)


def test_vgg16_is_its_formulas_whatever_file_its_weights_come_in(tmp_path: Path) -> None:
    arrays = files.vgg16_arrays(files.NARROW["vgg16"], files.NUM_DENSE, seed=3)
    pictures = [files.blobs(320, 180, seed) for seed in range(3)]
    tensors = as_tensors(arrays)
    expected = torch.cat([plain_vgg(picture, tensors) for picture in pictures]).numpy()
    assert expected.max() > 5 / 365
    for path in (
        files.save_caffe(arrays, tmp_path / "published.caffemodel"),
        files.save_safetensors(arrays, tmp_path / "converted.safetensors"),
        files.save_checkpoint(arrays, tmp_path / "converted.pth.tar", key="state_dict"),
    ):
        weights = open_vgg(path).tag(pictures)
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_the_published_sizes_are_the_authors() -> None:
    with torch.device("meta"):
        networks = {
            "cnn14": (audioset.AudioSetCNN(audioset.CNN14_WIDTHS, 527), 80_753_615),
            "cnn10": (audioset.AudioSetCNN(audioset.CNN10_WIDTHS, 527), 5_219_279),
            # 138,357,544 with the 1000 classes of ImageNet
            "vgg16": (places365.VGG16(places365.VGG16_WIDTHS, 4096, 365), 135_755_949),
        }
    for network, expected in networks.values():
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_the_published_name_needs_the_published_bytes(tmp_path: Path) -> None:
    path = tmp_path / "Cnn14_mAP=0.431.pth"
    path.write_bytes(b"cut off")
    with pytest.raises(DataError, match="not the file published under this name; download it again"):
        audioset.cnn14(files.write_sounds(tmp_path / "class_labels_indices.csv", 527).parent)
    known = Remote(filename=path.name, url="", bytes=7, md5="8d1e9d9b2c1b8a8d0f3a4f0d7a1f2c3b")
    with pytest.raises(DataError, match="published"):
        check_published(path, known)
    right = hashlib.md5(b"cut off", usedforsecurity=False).hexdigest()
    known = Remote(filename=path.name, url="", bytes=7, md5=right)
    assert check_published(path, known) == hashlib.sha256(b"cut off").hexdigest()


@pytest.mark.parametrize(
    "name",
    ["cnn10", pytest.param("cnn14", marks=pytest.mark.slow), pytest.param("vgg16-places365", marks=pytest.mark.slow)],
)
def test_a_file_of_the_published_size_is_taken_as_it_is(name: str, tmp_path: Path) -> None:
    """Random numbers, 20 to 540 MB of them, under the published names of layers."""
    if name == "vgg16-places365":
        files.write_places(tmp_path / "categories_places365.txt")
        arrays = files.vgg16_arrays((64, 128, 256, 512, 512), 4096)
        path = files.save_caffe(arrays, tmp_path / "vgg.caffemodel")
        batch = [files.blobs(640, 360)]
    else:
        files.write_sounds(tmp_path / "class_labels_indices.csv", 527)
        widths = (64, 128, 256, 512, 1024, 2048)[: 4 if name == "cnn10" else 6]
        path = files.save_checkpoint(files.cnn_arrays(widths), tmp_path / "own.pth")
        batch = [files.noise(1)]
    tagger = open_tagger(f"{name}={path}")
    assert tagger.tag(batch).shape == (1, len(tagger.labels))
