"""A second device for tests without an accelerator: its tensors have values, and it refuses what CUDA refuses.

Its tensors are CPU tensors whose memory is marked. Two modes of torch watch what is done while it is switched on: one
sees the calls of Python (`device=`, `.to`, `.device`, `.numpy`), the other every operation below them, in the backward
pass and in optimisers too. An operation on a tensor of the device and a CPU tensor of one or more dimensions raises
RuntimeError; as on CUDA a CPU tensor without dimensions may take part, `copy_` may cross, and CPU numbers may index.

    with OtherDevice() as other:
        network.to(other.device)
        ...
        assert other.num_reads == 0    # nothing waited for a result on the host

It holds for the thread it is switched on in. What leaves it marked behaves as a CPU tensor afterwards.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

aten = torch.ops.aten
READS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.equal,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
}
"""Operations whose result, or its size, the host has to wait for."""
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
CROSSING = {aten.copy_, aten._copy_from, aten.set_}

HERE, FREE = "here", "free"
"""Marks of memory: of the device; made below Python, where a device cannot be told, and of whatever uses it first."""


def _mark_of(tensor: Tensor) -> str:
    with torch._C.DisableTorchFunction():
        return getattr(tensor.untyped_storage(), "mark", "")


def _mark(tensors: Any, mark: str) -> None:
    with torch._C.DisableTorchFunction():
        for tensor in _tensors(tensors):
            tensor.untyped_storage().mark = mark  # type: ignore[attr-defined]


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_iter(values) if isinstance(value, Tensor))


class OtherDevice(TorchFunctionMode):
    """Switched on by `with`; one at a time."""

    def __init__(self, name: str = "xpu") -> None:
        super().__init__()
        self.device = torch.device(name)
        self.num_reads = 0
        """How often the host has waited for a value: `.item()`, `.cpu()`, `if tensor`, `nonzero`, a boolean index."""
        self.num_operations = 0
        """How many have run on the device."""
        self.inside = False
        """Whether a call on tensors of the device, or a backward pass, is running."""

    def __enter__(self) -> "OtherDevice":
        self._operations, self._generator = _Operations(self), torch.Generator
        torch.Generator = _generator_of(self.device)  # type: ignore[misc]
        self._operations.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._operations.__exit__(*error)
        torch.Generator = self._generator  # type: ignore[misc]

    def is_here(self, tensor: Tensor) -> bool:
        """Whether a tensor is on the device."""
        return _mark_of(tensor) == HERE

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        here = any(self.is_here(tensor) for tensor in _tensors((args, kwargs)))
        name = getattr(function, "__name__", "")
        if name == "__get__" and isinstance(args[0], Tensor):
            answer = self._attribute(getattr(function, "__self__", None), here)
            if answer is not None:
                return answer
        if name in ("to", "cpu", "cuda", "xpu") and isinstance(args[0], Tensor):
            return self._moved(name, args, kwargs, self.is_here(args[0]))
        if here and name in ("numpy", "__array__"):
            raise TypeError(f"can't convert {self.device} device type tensor to numpy; use .cpu()")
        self.num_reads += here and name == "tolist"
        asked, given = kwargs.get("device"), kwargs.get("generator")
        to_here = asked is not None and self._is_this(asked)
        if to_here:
            kwargs["device"] = "cpu"
        if given is not None and (given.device == self.device) != (to_here or here):
            raise RuntimeError(f"a generator of {given.device} for a tensor of another device")
        before, self.inside = self.inside, here or self.inside
        try:
            result = function(*args, **kwargs)
        finally:
            self.inside = before
        if asked is not None:
            _mark(result, HERE if to_here else "")
        elif here and name in ("__deepcopy__", "new_tensor"):
            _mark(result, HERE)
        return result

    def _attribute(self, getter: Any, here: bool) -> Any:
        """What an attribute says of a tensor; None where its own answer is right."""
        if not here:
            return None
        if getter is Tensor.device:
            return self.device
        kinds = {Tensor.is_cpu: "cpu", Tensor.is_cuda: "cuda", Tensor.is_xpu: "xpu"}
        return self.device.type == kinds[getter] if getter in kinds else None

    def _moved(self, name: str, args: tuple, kwargs: dict, here: bool) -> Tensor:
        """`.to`, `.cpu` and so on: a copy where the device changes."""
        moved, goes_here = args[0], self._is_this(name) if name != "to" else here
        if name == "to":
            like = kwargs.get("other", args[1] if len(args) > 1 else None)
            if isinstance(like, Tensor):
                goes_here, dtype, memory_format = self.is_here(like), like.dtype, None
            else:
                asked, dtype, _, memory_format = torch._C._nn._parse_to(*args[1:], **kwargs)
                goes_here = here if asked is None else self._is_this(asked)
            kept = {} if memory_format is None else {"memory_format": memory_format}
            moved = Tensor.to(moved, dtype=dtype or moved.dtype, copy=bool(kwargs.get("copy")), **kept)
        if goes_here == here:
            return moved
        self.num_reads += here
        crossed: Tensor = _Crossing.apply(moved, HERE if goes_here else "")
        return crossed

    def _is_this(self, asked: Any) -> bool:
        return torch.device(asked).type == self.device.type


class _Crossing(torch.autograd.Function):
    """A copy on the other side; its gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, mark: str) -> Tensor:
        ctx.came_from = _mark_of(tensor)
        copy = tensor.clone(memory_format=torch.preserve_format)
        _mark(copy, mark)
        return copy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        copy = gradient.clone()
        _mark(copy, ctx.came_from)
        return copy, None


class _Operations(TorchDispatchMode):
    """Every operation: refuses what mixes, marks what comes out, counts what the host waits for."""

    def __init__(self, other: OtherDevice) -> None:
        super().__init__()
        self.other = other

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        packet = operation.overloadpacket
        given = list(_tensors((args, kwargs)))
        marks = [_mark_of(tensor) for tensor in given]
        here = HERE in marks
        if here and packet not in CROSSING:
            indices = list(_tensors(args[1])) if packet in INDEXING and marks[0] == HERE else []
            for tensor, mark in zip(given, marks, strict=True):
                may = tensor.dim() == 0 or any(tensor is index for index in indices)
                if not mark and not may:
                    shape = tuple(tensor.shape)
                    raise RuntimeError(
                        f"{operation}: expected all tensors on one device, found {self.other.device} and "
                        f"cpu (a CPU tensor {shape})"
                    )
        mask = packet in INDEXING and any(t.dtype == torch.bool for t in _tensors(args[1]))
        self.other.num_operations += here
        self.other.num_reads += here and (packet in READS or mask)
        result = operation(*args, **kwargs)
        if packet in CROSSING:
            return result
        backward = torch._C._current_graph_task_id() != -1
        free = FREE in marks or (not given and (self.other.inside or backward))
        if here or free:
            _mark((result, [t for t, m in zip(given, marks, strict=True) if m == FREE]), HERE if here else FREE)
        return result


def _generator_of(device: torch.device) -> type:
    """torch.Generator that can be one of the device."""

    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> "Generator":
            made = super().__new__(cls, "cpu")
            made.place = torch.device(device)
            return made

        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return self.place

    return Generator
