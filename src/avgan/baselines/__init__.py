"""The paper's rivals behind one interface, one file each: `METHODS` names them, `make` brings one to life."""

from importlib import import_module

from avgan.baselines.method import Method
from avgan.errors import ConfigError

METHODS: dict[str, str] = {
    "svm-mfcc": "mfcc:svm",
    "forest-mfcc": "mfcc:forest",
    "knn-mfcc": "mfcc:neighbours",
    "soundnet-5": "soundnet:five",
    "soundnet-8": "soundnet:eight",
    "soundnet-5-transfer": "soundnet:five_transferred",
    "soundnet-8-transfer": "soundnet:eight_transferred",
    "autoencoder": "autoencoder:AutoencoderRival",
    "l3net": "l3net:L3NetRival",
    "mn04-probe": "mn04_probe:MN04Probe",
    "piczak": "piczak:piczak",
    "cnn9": "cnn9:cnn9",
    "facn": "facn:facn",
    "ccnn-style": "ccnn:ccnn",
    "kumar": "kumar:kumar",
    "kumar-pretrained": "kumar:pretrained",
    "sdcnn-style": "sdcnn:sdcnn",
    "sdcnn-av": "sdcnn:sdcnn_with_more",
    "cmcgan-style": "cmcgan:cmcgan",
}
"""Name on the command line -> "module:function" that makes a new, untrained rival."""


def make(name: str) -> Method:
    """A new rival. Raises ConfigError where none has that name."""
    if name not in METHODS:
        raise ConfigError(f"no method is called {name!r}: choose one of {', '.join(METHODS)}")
    module, _, function = METHODS[name].partition(":")
    method: Method = getattr(import_module(f"avgan.baselines.{module}"), function)()
    return method
