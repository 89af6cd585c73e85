"""The paper's rivals behind one interface, one file each: `METHODS` names them, `make` brings one to life."""

from collections.abc import Callable

from avgan.baselines import (
    autoencoder,
    ccnn,
    cmcgan,
    cnn9,
    facn,
    kumar,
    l3net,
    mfcc,
    mn04_probe,
    piczak,
    sdcnn,
    soundnet,
)
from avgan.baselines.method import Method
from avgan.errors import ConfigError

METHODS: dict[str, Callable[[], Method]] = {
    "svm-mfcc": mfcc.svm,
    "forest-mfcc": mfcc.forest,
    "knn-mfcc": mfcc.neighbours,
    "soundnet-5": soundnet.five,
    "soundnet-8": soundnet.eight,
    "soundnet-5-transfer": soundnet.five_transferred,
    "soundnet-8-transfer": soundnet.eight_transferred,
    "autoencoder": autoencoder.AutoencoderRival,
    "l3net": l3net.L3NetRival,
    "mn04-probe": mn04_probe.MN04Probe,
    "piczak": piczak.Piczak,
    "cnn9": cnn9.cnn9,
    "facn": facn.facn,
    "ccnn-style": ccnn.ccnn,
    "kumar": kumar.kumar,
    "kumar-pretrained": kumar.Pretrained,
    "sdcnn-style": sdcnn.SDCNN,
    "sdcnn-av": sdcnn.sdcnn_with_more,
    "cmcgan-style": cmcgan.CMCGAN,
}
"""Name on the command line -> what makes a new, untrained rival; the module that it stands in is its own."""


def make(name: str) -> Method:
    """A new rival. Raises ConfigError where none has that name."""
    if name not in METHODS:
        raise ConfigError(f"no method is called {name!r}: choose one of {', '.join(METHODS)}")
    return METHODS[name]()
