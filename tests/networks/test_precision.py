"""When bfloat16 is chosen: where the machine multiplies it in hardware, whichever units it has for that."""

import pytest
import torch

from avgan.networks.precision import CPU_UNITS, bf16_is_fast
from avgan.presets import preset
from avgan.training.run import precision


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The units that this machine is said to have."""
    has: set[str] = set()
    for name in CPU_UNITS:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in has, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return has


@pytest.mark.parametrize("unit", CPU_UNITS)
def test_either_unit_of_a_processor_is_used(units: set[str], unit: str) -> None:
    run = preset("pictures_small").run("vqvae")
    assert precision(run) == "32-true"
    units.add(unit)
    assert precision(run) == "bf16-mixed"
    assert bf16_is_fast("cpu")


def test_a_precision_that_is_named_is_taken(units: set[str]) -> None:
    assert not units
    assert precision(preset("compact").run("imagination")) == "bf16-mixed"
    units.update(CPU_UNITS)
    assert precision(preset("transfer").run("classifier")) == "32-true"


def test_of_other_devices_nothing_is_known(units: set[str]) -> None:
    units.update(CPU_UNITS)
    assert not bf16_is_fast("mps")
    assert not bf16_is_fast("cuda")
