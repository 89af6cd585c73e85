"""A file of published weights: whose it is by its hash, its arrays by name, and whether they fit a network."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avgan.curation.taggers.caffe import read_caffe
from avgan.errors import DataError

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file as its authors published it; what is known of it."""

    filename: str
    address: str
    bytes: int | None = None
    md5: str = ""


def find_weights(named: Path, filename: str, address: str) -> Path:
    """The file that a user names, or the one in a folder that he names.

    Raises:
        DataError: there is none.
    """
    if named.is_file():
        return named
    for folder in (named, named / "weights"):
        if (folder / filename).is_file():
            return folder / filename
    raise DataError(
        f"{named}: no {filename} here; get it from {address}, or do without: --sounds none, --scenes none"
    )


def check_published(path: Path, known: tuple[Published, ...]) -> str:
    """The sha256 of a file. One that bears a published name must hold the published bytes.

    Raises:
        DataError: it does not.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            for published in known:
                if path.name != published.filename:
                    continue
                file.seek(0)
                is_whole = published.bytes in (None, path.stat().st_size)
                if published.md5:
                    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
                    is_whole = is_whole and digest.hexdigest() == published.md5
                if not is_whole:
                    raise DataError(
                        f"{path}: not the file published under this name; download it again from "
                        f"{published.address}, or rename it where the weights are your own"
                    )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return sha256


def read_weights(path: Path) -> dict[str, Tensor]:
    """Arrays by name of a .safetensors, .caffemodel or PyTorch checkpoint, nothing of which can run code.

    Of a checkpoint that holds more than weights these are taken from `model` or `state_dict`, and the prefix that a
    parallel training leaves is dropped.

    Raises:
        DataError: it is none of these, or damaged.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            return load_file(path)
        if suffix == ".caffemodel":
            arrays = read_caffe(path)
            return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        if suffix in TORCH_SUFFIXES:
            return _of_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except DataError:
        raise
    except Exception as error:  # each reader has its own errors
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read ({reason}); download it again, or convert it to safetensors"
        ) from None
    raise DataError(f"{path}: not .safetensors, .caffemodel or a PyTorch checkpoint (.pth, .tar)")


def _of_checkpoint(content: object) -> dict[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError("it holds no arrays by name")
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def fill(network: nn.Module, arrays: Mapping[str, Tensor], path: Path) -> None:
    """Give arrays to a network, by name, and set it to be used; arrays that it does not know are left alone.

    The network may be built on torch's device `meta`: the arrays take the places of its own.

    Raises:
        DataError: one is missing, of another shape, or not of finite numbers.
    """
    taken: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # counts batches of training
            taken[name] = torch.tensor(0)
            continue
        if name not in arrays:
            raise DataError(f"{path}: has no {name!r}; is it a file of another network?")
        given = arrays[name].float()
        if given.shape != value.shape:
            raise DataError(
                f"{path}: {name!r} has the shape {tuple(given.shape)}, not {tuple(value.shape)}; is it "
                "a file of another network?"
            )
        if not torch.isfinite(given).all():
            raise DataError(f"{path}: {name!r} holds what is no number; download it again")
        taken[name] = given
    network.load_state_dict(taken, assign=True)
    network.requires_grad_(False).eval()
