"""All that knows of ranks. On one process every function here is the identity.

Networks are never wrapped: a gradient penalty takes a gradient through the critic inside the loss, which wrappers that
hook into backward do not support. Gradients are averaged here, in the open, between `backward()` and `step()`.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def is_first() -> bool:
    """Whether this process is the one that writes to disk."""
    return world()[0] == 0


def barrier() -> None:
    """Wait for all processes."""
    if world()[1] > 1:
        dist.barrier()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over processes; the argument is left alone."""
    if world()[1] == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over processes; the argument is left alone."""
    return sum_over_processes(value) / world()[1]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (N, ...) of all processes, in the order of ranks."""
    num_processes = world()[1]
    if num_processes == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(num_processes)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes, in one message."""
    if world()[1] == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = mean_over_processes(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
