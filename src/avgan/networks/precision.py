"""Whether this machine multiplies matrices of bfloat16 in hardware: elsewhere single precision is faster."""

import torch

CPU_UNITS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
"""torch's own questions, not all of which every release of it has."""


def bf16_is_fast(device: str) -> bool:
    """On "cuda" or "cpu"; no other kind of device is known to be."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in CPU_UNITS)
