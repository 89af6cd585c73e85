"""How large the paper's networks are as they are read here; docs/paper.md states the same numbers."""

import re
from pathlib import Path

import pytest
from torch import nn

from avgan.config import Recipe
from avgan.model import AVGAN
from avgan.networks.residual import ResidualConfig
from avgan.presets import paper_esc50, transfer

DOCS = Path(__file__).resolve().parents[2] / "docs" / "paper.md"

PAPER = {
    "vqvae": 2_254_868,
    "encoder": 1_200_705,
    "quantizer": 16,
    "decoder": 1_054_147,
    "generator": 19_401_090,
    "trunk": 18_735_746,
    "head": 665_344,
    "critic": 1_894_049,
    "classifier": 4_711_794,
}


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def parts(networks: AVGAN) -> dict[str, nn.Module]:
    return {
        "vqvae": networks.vqvae,
        "encoder": networks.vqvae.encoder,
        "quantizer": networks.vqvae.quantizer,
        "decoder": networks.vqvae.decoder,
        "generator": networks.generator,
        "trunk": networks.generator.trunk,
        "head": networks.generator.head,
        "critic": networks.critic,
        "classifier": networks.classifier,
    }


def build(recipe: Recipe) -> AVGAN:
    return AVGAN([recipe.run(kind) for kind in recipe.kinds], num_labels=50)


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    networks = build(paper_esc50())
    return {name: num_parameters(network) for name, network in parts(networks).items()}


def test_the_papers_networks_have_the_sizes_written_down(found: dict[str, int]) -> None:
    assert found == PAPER


def test_the_wholes_are_the_sums_of_their_parts(found: dict[str, int]) -> None:
    assert found["vqvae"] == found["encoder"] + found["quantizer"] + found["decoder"]
    assert found["generator"] == found["trunk"] + found["head"]


def test_the_docs_state_the_same_numbers() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d,]+) \|$", DOCS.read_text(), re.MULTILINE))
    assert {name: int(number.replace(",", "")) for name, number in rows.items()} == PAPER


def test_transfer_embeds_with_a_million() -> None:
    assert num_parameters(build(transfer()).generator.trunk) == 983_599


def test_a_residual_vqvae_has_the_sizes_it_states() -> None:
    config = ResidualConfig()
    assert [round(num_parameters(network) / 1e6, 1) for network in (config.encoder(), config.decoder())] == [4.7, 5.2]
