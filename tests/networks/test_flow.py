"""What the sampler promises."""

import pytest
import torch
from torch import nn

from avgan.networks.flow import SURENESS, FlowConfig, FlowSampler, from_patches, to_patches

CODE_DIM, NUM_LABELS = 4, 3
CONFIG = FlowConfig(width=64, depth=2, condition_width=32, num_steps=4)


def awake(sampler: FlowSampler) -> FlowSampler:
    """With all weights drawn anew: layers that begin with zeros say nothing yet."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.normal_(0.0, 0.1)
    return sampler.eval()


@pytest.fixture
def sampler() -> FlowSampler:
    return awake(CONFIG.build(CODE_DIM, NUM_LABELS))


def inputs(sampler: FlowSampler, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    logits = torch.randn(count, NUM_LABELS)
    return torch.rand(count, CODE_DIM, 16, 16) * 2 - 1, logits, torch.randn(count, sampler.noise_size)


def test_features_and_noise_determine_the_map(sampler: FlowSampler) -> None:
    given = inputs(sampler)
    drawn = sampler(*given)
    assert drawn.shape == given[0].shape
    assert torch.equal(sampler(*given), drawn)
    torch.testing.assert_close(sampler(*(rows[1:2] for rows in given)), drawn[1:2])
    for number in range(3):
        others = [rows.roll(1, 0) if index == number else rows for index, rows in enumerate(given)]
        assert not torch.allclose(sampler(*others), drawn)


def test_a_fresh_condition_is_what_the_labels_say() -> None:
    """Before it has learnt what else the features tell."""
    reader = CONFIG.build(CODE_DIM, NUM_LABELS).eval().reader
    assert isinstance(reader, nn.Module)
    imagined, probabilities = torch.randn(2, CODE_DIM, 16, 16), torch.eye(NUM_LABELS)[:2]
    found = reader(imagined, probabilities)
    assert torch.equal(found.vector, reader(imagined.roll(1, 0), probabilities).vector)
    assert not torch.allclose(found.vector[0], found.vector[1])
    assert not found.tokens.any()


def test_statistics_are_those_of_the_features(sampler: FlowSampler) -> None:
    torch.manual_seed(0)
    real = 0.5 + 0.1 * torch.randn(50, CODE_DIM, 16, 16)
    imagined = 0.3 * torch.randn(1, CODE_DIM, 16, 16) + 0.2 * torch.randn(60, CODE_DIM, 16, 16)
    logits = 0.1 * torch.randn(60, NUM_LABELS)
    sampler.set_statistics(real, imagined, logits)
    torch.testing.assert_close(sampler.real_mean.flatten(), torch.full((4,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(sampler.real_spread.flatten(), torch.full((4,), 0.1), atol=0.01, rtol=0)
    standardized, sharpened = sampler.given(imagined, logits)
    assert standardized.mean(0).abs().max() < 1e-5
    assert float(standardized.std()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(sharpened.argmax(1), logits.argmax(1))
    assert float(sharpened.amax(1).mean()) == pytest.approx(SURENESS, abs=0.02)


def test_patches_keep_their_places() -> None:
    maps = torch.arange(2 * 3 * 256, dtype=torch.float32).view(2, 3, 16, 16)
    patches = to_patches(maps)
    assert patches.shape == (2, 64, 12)
    assert torch.equal(patches[0, 9], maps[0, :, 2:4, 2:4].flatten())
    assert torch.equal(from_patches(patches, 3), maps)


def test_a_flow_that_knows_the_direction_arrives() -> None:
    """With the true direction of straight lines, any number of steps ends at the features."""
    sampler = awake(CONFIG.build(CODE_DIM, NUM_LABELS))
    assert isinstance(sampler, FlowSampler)
    imagined, logits, noise = inputs(sampler)
    goal = torch.randn(3, CODE_DIM, 16, 16)
    start = noise.view_as(goal)
    sampler.real_mean.fill_(0.2)
    sampler.real_spread.fill_(0.5)
    sampler.velocity = lambda maps, time, condition: (goal - start).repeat(len(maps) // 3, 1, 1, 1)  # type: ignore[method-assign]
    torch.testing.assert_close(sampler(imagined, logits, noise), 0.5 * goal + 0.2)


def test_guidance_takes_what_the_condition_adds_so_many_times() -> None:
    config = FlowConfig(width=64, depth=1, condition_width=16, num_steps=1)
    samplers = {
        guidance: awake(config.model_copy(update={"guidance": guidance}).build(CODE_DIM, NUM_LABELS))
        for guidance in (1.0, 3.0)
    }
    imagined, logits, noise = inputs(samplers[1.0])
    conditional, guided = (samplers[guidance](imagined, logits, noise) for guidance in (1.0, 3.0))
    unguided = samplers[1.0]
    assert isinstance(unguided, FlowSampler)
    empty = unguided.reader.empty(unguided.reader(imagined, logits))
    maps = noise.view_as(imagined)
    unconditional = maps + unguided.velocity(maps, torch.zeros(3), empty)
    torch.testing.assert_close(guided, unconditional + 3.0 * (conditional - unconditional), atol=1e-5, rtol=1e-4)


def test_a_dropped_row_has_the_empty_condition() -> None:
    reader = awake(CONFIG.build(CODE_DIM, NUM_LABELS)).reader
    assert isinstance(reader, nn.Module)
    imagined = torch.rand(2, CODE_DIM, 16, 16)
    probabilities = torch.rand(2, NUM_LABELS)
    dropped = reader(imagined, probabilities, torch.tensor([True, False]))
    empty, full = reader.empty(dropped), reader(imagined, probabilities)
    assert torch.equal(dropped.vector[0], empty.vector[0])
    assert torch.equal(dropped.tokens[0], empty.tokens[0])
    assert torch.equal(dropped.vector[1], full.vector[1])
