"""The device of the tests: it computes what a CPU computes, and finds what would fail on a real one."""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

from other_device import OtherDevice

MIXED = "expected all tensors on one device"


@pytest.fixture
def other() -> Iterator[OtherDevice]:
    with OtherDevice() as device:
        yield device


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


OPTIMISERS: dict[str, Callable] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.01),
    "adam-single": lambda parameters: torch.optim.Adam(parameters, 0.01, foreach=False),
    "sgd-fused": lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9, nesterov=True, fused=True),
}


def train(device: torch.device | str, optimiser: str) -> tuple[nn.Module, Tensor]:
    """A few steps of a network and its last loss."""
    network = small_network().to(device, memory_format=torch.channels_last)
    steps = OPTIMISERS[optimiser](network.parameters())
    inputs = torch.randn(12, 1, 8, 8).to(device)
    targets = (torch.arange(12) % 3).to(device)
    for _ in range(4):
        loss = functional.cross_entropy(network(inputs), targets)
        steps.zero_grad(set_to_none=True)
        loss.backward()
        steps.step()
    return network, loss


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_training_there_has_the_values_of_the_cpu_and_waits_for_nothing(optimiser: str) -> None:
    expected, expected_loss = train("cpu", optimiser)
    with OtherDevice() as other:
        network, loss = train(other.device, optimiser)
        assert other.num_reads == 0
        assert loss.device == other.device
        assert {value.device for value in network.state_dict().values()} == {other.device}
        assert {parameter.grad.device for parameter in network.parameters()} == {other.device}
        assert loss.item() == expected_loss.item()
        assert other.num_reads == 1
        copied = copy.deepcopy(network)
        assert {value.device for value in copied.state_dict().values()} == {other.device}
        back = network.cpu().state_dict()
        assert {value.device.type for value in back.values()} == {"cpu"}
    for name, value in expected.state_dict().items():
        assert torch.equal(back[name], value)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda device: torch.ones(3, device=device) + torch.ones(3),
        lambda device: torch.ones(3).add_(torch.ones(3, device=device)),
        lambda device: torch.ones((), device=device) * torch.ones(3),
        lambda device: small_network()(torch.ones(2, 1, 8, 8, device=device)),
        lambda device: small_network().to(device)(torch.ones(2, 1, 8, 8)),
        lambda device: functional.cross_entropy(torch.ones(2, 3, device=device), torch.tensor([0, 1])),
        lambda device: functional.mse_loss(torch.ones(2, device=device), torch.tensor([0.5, 1.0])),
        lambda device: torch.cat([torch.ones(2, device=device), torch.ones(2)]),
        lambda device: torch.ones(4)[torch.tensor([0], device=device)],
        lambda device: nn.Embedding(3, 2).to(device)(torch.tensor([1])),
        lambda device: torch.stft(torch.ones(900, device=device), 256, window=torch.ones(256), return_complex=True),
    ],
)
def test_a_planted_mix_is_found(other: OtherDevice, mistake: Callable) -> None:
    with pytest.raises(RuntimeError, match=MIXED):
        mistake(other.device)


def test_a_gradient_of_the_wrong_device_is_found(other: OtherDevice) -> None:
    weight = nn.Parameter(torch.ones(3))
    steps = torch.optim.SGD([weight], 0.1, foreach=False)
    weight.grad = torch.ones(3).to(other.device)
    with pytest.raises(RuntimeError, match=MIXED):
        steps.step()


def test_what_cuda_allows_is_allowed(other: OtherDevice) -> None:
    values = torch.arange(6.0, device=other.device)
    assert (values + torch.tensor(1.0)).device == other.device
    assert values[torch.tensor([0, 2])].tolist() == [0.0, 2.0]
    assert values[np.array([1, 5])].device == other.device
    assert torch.zeros(6).copy_(values).device.type == "cpu"
    windows = torch.hann_window(200, device=other.device)
    signal = torch.randn(900).to(other.device)
    spectrum = torch.stft(signal, 256, win_length=200, window=windows, return_complex=True)
    assert spectrum.abs().square().device == other.device
    expected = torch.stft(signal.cpu(), 256, win_length=200, window=windows.cpu(), return_complex=True)
    assert torch.equal(spectrum.cpu(), expected)


def test_tensors_say_where_they_are(other: OtherDevice) -> None:
    plain, here = torch.ones(3), torch.ones(3, device=other.device)
    assert (plain.device.type, plain.is_cpu, here.is_cpu) == ("cpu", True, False)
    assert here.to(torch.float64).device == torch.zeros_like(here).device == other.device
    assert plain.to(here).device == here.new_tensor([1.0]).device == other.device
    assert here.to("cpu").device == here.cpu().device == torch.zeros_like(here, device="cpu").device
    assert here.to(other.device) is here
    with pytest.raises(TypeError, match="numpy"):
        here.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(here)
    np.testing.assert_array_equal(here.cpu().numpy(), plain.numpy())


def test_a_gradient_comes_back_across(other: OtherDevice) -> None:
    leaf = torch.ones(3, requires_grad=True)
    (leaf.to(other.device) * 2).cpu().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.device.type == "cpu"
    assert leaf.grad.tolist() == [2.0] * 3


def test_a_generator_draws_on_its_own_device(other: OtherDevice) -> None:
    generator = torch.Generator(other.device).manual_seed(3)
    drawn = torch.randn(4, device=other.device, generator=generator)
    assert drawn.device == other.device
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(4, device=other.device, generator=torch.Generator())
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(4, generator=generator)


@pytest.mark.parametrize(
    ("reading", "num"),
    [
        (lambda values: values.sum().item(), 1),
        (lambda values: float(values[0]), 1),
        (lambda values: bool(values.any()), 1),
        (lambda values: values.cpu(), 1),
        (lambda values: values.tolist(), 1),
        (lambda values: values.nonzero(), 1),
        (lambda values: values[values > 0], 1),
        (lambda values: torch.equal(values, values), 1),
        (lambda values: values.sum().sqrt().clamp(min=1)[None] * values, 0),
        (lambda values: values[:2].to(torch.float64).cumsum(0), 0),
    ],
)
def test_what_the_host_waits_for_is_counted(other: OtherDevice, reading: Callable, num: int) -> None:
    values = torch.ones(3, device=other.device)
    reading(values)
    reading(torch.ones(3))  # of the CPU: nothing to wait for
    assert other.num_reads == num


def test_it_is_gone_when_it_is_switched_off() -> None:
    generator = torch.Generator
    with OtherDevice() as other:
        here = torch.ones(3, device=other.device)
    assert torch.Generator is generator
    assert (here + torch.ones(3)).device.type == "cpu"
