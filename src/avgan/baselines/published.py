"""Files of weights that the authors of a rival published and a user brings: found, read without running code, fitted.

Accepted are .safetensors, .npz, and PyTorch checkpoints (.pth, .pt, .tar, .pkl), of which only the arrays are read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from avgan.errors import DataError

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".pkl")


def find_weights(method: str, folder: Path | None, names: Sequence[str], advice: str) -> Path:
    """The first file with one of the names in a data folder, or in `weights` or a folder named as the method in it.

    Raises DataError, which ends in the advice, where there is none.
    """
    places = [] if folder is None else [folder, folder / method.split("-")[0], folder / "weights"]
    for path in (place / name for place in places for name in names):
        if path.is_file():
            return path
    raise DataError(f"{method}: no {names[0]} in {folder or 'any folder'}; {advice}")


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Arrays by name; the prefix that a training on several processors leaves is dropped.

    Raises DataError where the file is of another kind, damaged, or holds more than arrays: nothing in it is run.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            return load_file(path)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(array) for name, array in arrays.items()}
        if suffix in TORCH_SUFFIXES:
            return _of_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # each reader has its own errors
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read ({reason}); download it again, or convert it to .safetensors "
            "where you trust it"
        ) from error
    raise DataError(
        f"{path}: not .safetensors, .npz or a PyTorch checkpoint; any other pickle, such as a dictionary in a .npy "
        "file, could run code: convert it where you trust it"
    )


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


def fill(values: Mapping[str, Tensor], arrays: Mapping[str, Tensor], path: Path) -> None:
    """Copy arrays into the values of the same names; axes of length 1 are ignored, other arrays left alone.

    Raises DataError where one is missing, has another shape, or holds what is no number.
    """
    for name, value in values.items():
        if name not in arrays:
            raise DataError(f"{path}: has no {name!r}; is it a file of another network?")
        array = arrays[name].float()
        if array.squeeze().shape != value.squeeze().shape:
            raise DataError(
                f"{path}: {name!r} has the shape {tuple(array.shape)}, not {tuple(value.shape)}; is it a file of "
                "another network?"
            )
        if not torch.isfinite(array).all():
            raise DataError(f"{path}: {name!r} holds what is no number; download it again")
        with torch.no_grad():
            value.copy_(array.reshape(value.shape))
