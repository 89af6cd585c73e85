"""The samplers: imagined features and noise to a map of real-looking features. One file each, all in SAMPLERS."""

from typing import Annotated

from pydantic import Field

from avgan.networks.samplers.flow import FlowConfig
from avgan.networks.samplers.gan import GANConfig
from avgan.networks.samplers.sampler import Sampler, SamplerConfig

SAMPLERS: dict[str, type[SamplerConfig]] = {"flow": FlowConfig, "gan": GANConfig}

AnySampler = Annotated[FlowConfig | GANConfig, Field(discriminator="kind")]

__all__ = ["SAMPLERS", "AnySampler", "FlowConfig", "GANConfig", "Sampler", "SamplerConfig"]
