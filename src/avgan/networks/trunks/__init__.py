"""Trunks: what turns a log-mel into a vector. One file each; a line here makes one known by its `kind`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from avgan.networks.trunks.conv8 import Conv8Config
from avgan.networks.trunks.mn04 import MN04Config
from avgan.networks.trunks.trunk import Pretrained, TrunkConfig

TRUNKS: dict[str, type[TrunkConfig]] = {"conv8": Conv8Config, "mn04": MN04Config}

__all__ = ["TRUNKS", "AnyTrunk", "Pretrained", "TrunkConfig"]


def _of_its_kind(given: Any) -> Any:
    """A JSON object as the configuration of the trunk that its `kind` names."""
    if not isinstance(given, dict):
        return given
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in TRUNKS:
        raise ValueError(f"no trunk is called {kind!r}: choose one of {', '.join(TRUNKS)}")
    return TRUNKS[kind].model_validate(given)


AnyTrunk = Annotated[SerializeAsAny[TrunkConfig], BeforeValidator(_of_its_kind)]
"""The configuration of any of the trunks, told apart by `kind`."""
