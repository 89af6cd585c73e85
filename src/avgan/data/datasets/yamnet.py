"""YAMNet: Google's tagger of 521 AudioSet classes, as a pretrained trunk. Weights only."""

from pathlib import Path

from avgan.data.datasets.declaration import Weights

_FILENAME = "yamnet.safetensors"


def _matches(root: Path) -> bool:
    return (root / _FILENAME).is_file()


YAMNET = Weights(
    name="yamnet",
    title="YAMNet, audio tagger trained on AudioSet",
    story="""\
MobileNetV1 trained on AudioSet, 521 classes, 16 kHz mono in. The file holds the network with its
batch norm folded into the convolutions: features.N.weight and .bias, where N counts the layers of
(pad, convolution, ReLU) triples, and classifier.weight and .bias.
""",
    citation="""\
@misc{plakal2020yamnet,
  title        = {{YAMNet}},
  author       = {Plakal, Manoj and Ellis, Dan},
  year         = {2020},
  howpublished = {https://github.com/tensorflow/models/tree/master/research/audioset/yamnet}
}""",
    licence="Apache-2.0 (Google, tensorflow/models).",
    address="https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    by_hand=(
        f"convert Google's yamnet.h5 (https://storage.googleapis.com/audioset/yamnet.h5) to {_FILENAME}"
        " with batch norm folded, and put it into the folder yamnet/ of the data folder"
    ),
    folders=("yamnet", "weights"),
    matches=_matches,
    filename=_FILENAME,
    sha256="ff8a818b63d72c9920f9faca418b0a9eb090918425ff485156bd09c7ed1d7aa3",
)
