"""Files of weights that somebody published and a user brings: found, read without running code, given to a network.

Read are .safetensors, .npz, and PyTorch checkpoints (.pth, .pt, .tar, .bin, .pkl), of which only the arrays are taken.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avgan.errors import DataError

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".pkl")

Reader = Callable[[Path], Mapping[str, np.ndarray]]


def find_weights(named: Path | None, names: Sequence[str], advice: str, *, below: Sequence[str] = ("weights",)) -> Path:
    """The file that is named, or the first with one of the names in the folder that is, or in a folder `below` it.

    Raises DataError, which ends in the advice, where there is none.
    """
    if named is not None and named.is_file():
        return named
    folders = [] if named is None else [named, *(named / folder for folder in below)]
    for path in (folder / name for folder in folders for name in names):
        if path.is_file():
            return path
    raise DataError(f"no {names[0]} in {named or 'any folder'}; {advice}")


def read_arrays(path: Path, readers: Mapping[str, Reader] | None = None) -> dict[str, Tensor]:
    """Arrays by name; of a checkpoint that holds more those of `model` or `state_dict`.

    The prefix that a training on several processors leaves is dropped. `readers`: of further kinds of files, by suffix.

    Raises DataError where the file is of another kind, damaged, or holds more than arrays: nothing in it is run.
    """
    suffix, readers = path.suffix.lower(), readers or {}
    try:
        if suffix == ".safetensors":
            return load_file(path)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(array) for name, array in arrays.items()}
        if suffix in readers:
            read = readers[suffix](path)
            return {name: torch.from_numpy(array.copy()) for name, array in read.items()}
        if suffix in TORCH_SUFFIXES:
            return _of_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except DataError:
        raise
    except Exception as error:  # each reader has its own errors
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read ({reason}); download it again, or convert it to .safetensors where you trust it"
        ) from None
    kinds = ", ".join((".safetensors", ".npz", *readers))
    raise DataError(
        f"{path}: not {kinds} or a PyTorch checkpoint; any other pickle, such as a dictionary in a .npy file, could "
        "run code: convert it where you trust it"
    )


def _of_checkpoint(content: object) -> dict[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError("it holds no arrays by name")
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def fill(network: nn.Module, arrays: Mapping[str, Tensor], path: Path, *, name_of: Callable[[str], str] = str) -> None:
    """Give a network its arrays, by the names that they have in the file, and set it to be used.

    Axes of length 1 are ignored, arrays that the network does not know left alone. It may be built on torch's device
    `meta`: the arrays take the places of its own.

    Raises DataError where one is missing, of another shape, or holds what is no number.
    """
    taken: dict[str, Tensor] = {}
    for own, value in network.state_dict().items():
        if own.endswith("num_batches_tracked"):  # counts batches of training
            taken[own] = torch.tensor(0)
            continue
        name = name_of(own)
        if name not in arrays:
            raise DataError(f"{path}: has no {name!r}; is it a file of another network?")
        given = arrays[name].float()
        if given.squeeze().shape != value.squeeze().shape:
            raise DataError(
                f"{path}: {name!r} has the shape {tuple(given.shape)}, not {tuple(value.shape)}; is it a file of "
                "another network?"
            )
        if not torch.isfinite(given).all():
            raise DataError(f"{path}: {name!r} holds what is no number; download it again")
        taken[own] = given.reshape(value.shape)
    network.load_state_dict(taken, assign=True)
    network.requires_grad_(False).eval()
