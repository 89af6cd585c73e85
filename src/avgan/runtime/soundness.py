"""What a model's graph may be made of. Everything else is refused before ONNX Runtime sees it.

A graph computes from its own numbers: no tensor may lie in another file (ONNX Runtime would open it), and nothing may
hold graphs of its own, which is where loops without end and tensors at unseen depth would be. How large a tensor is
may depend on how long the sound is, never on what is heard, so that one run shows what all runs cost.

Field numbers: onnx.proto3, IR version 10.
"""

from collections.abc import Iterable, Iterator, Mapping

from avgan.errors import BundleError
from avgan.runtime.graph import MODEL_GRAPH, TENSOR_NAME, VALUE_NAME, Message, fields, texts

MAX_NODES = 10_000
"""The shipped graph has 170; a network of a thousand layers would have a third of this."""
MAX_FIELDS = 200_000
"""Of all messages together; the shipped graph has 3,000. Each costs more here than in the file."""

# The fields that may be there, by message; what is not named is refused.
_MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
_GRAPH = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16})
_NODE = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9})
_ATTRIBUTE = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20})
_TENSOR = frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16})

_WHAT: Mapping[tuple[str, int], str] = {
    ("model", 20): "instructions for training",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse tensors",
    ("attribute", 6): "a graph within the graph",
    ("attribute", 11): "a graph within the graph",
    ("attribute", 21): "functions of its own",
    ("attribute", 22): "sparse tensors",
    ("attribute", 23): "sparse tensors",
    ("tensor", 13): "numbers that lie in another file",
}

_SIZES: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "EyeLike": (),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Tile": (1,),
    "Upsample": (1,),
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "STFT": (1, 3),
    "DFT": (1,),
    "MelWeightMatrix": (0, 1),
    "CenterCropPad": (1,),
    "Col2Im": (1,),
}
"""Operators whose output is as large as the values of these inputs say."""
_REFUSED = frozenset({"ImageDecoder"})
"""Of a few kilobytes it makes as many megabytes as it likes."""
_MEASURES = frozenset({"Shape", "Size"})
"""What these give depends on no value."""


def check_graph(model: bytes, between: Iterable[str] = ()) -> None:
    """Raise BundleError where the model holds what no bundle needs, or is no ONNX model.

    `between`: the tensors beside the inputs at which the graph is cut, where values come in, too.
    """
    try:
        _check_model(memoryview(model), between)
    except (IndexError, UnicodeDecodeError):
        raise BundleError("the model is not an ONNX file; export the bundle again") from None


def _check_model(model: Message, between: Iterable[str]) -> None:
    walk = _Walk()
    graphs = [
        value for number, value in walk.known("model", model, _MODEL) if number == MODEL_GRAPH
    ]
    if len(graphs) != 1:
        raise IndexError
    heard: set[str] = set()
    known: set[str] = set()
    nodes: list[tuple[str, list[str], list[str]]] = []
    for number, value in walk.known("graph", graphs[0], _GRAPH):
        if number == 1:
            nodes.append(_check_node(walk, value))
            if len(nodes) > MAX_NODES:
                raise BundleError(
                    f"the model has more than {MAX_NODES:,} operations; no bundle does"
                )
        elif number == 5:
            _check_tensor(walk, value)
            known.update(texts(value, TENSOR_NAME))
        elif number == 11:
            heard.update(texts(value, VALUE_NAME))
    # Old files list their own numbers as inputs, too.
    _check_sizes(nodes, (heard - known).union(between))


def _check_node(walk: "_Walk", node: Message) -> tuple[str, list[str], list[str]]:
    """Its operator, inputs and outputs."""
    kind, domain = "", ""
    inputs: list[str] = []
    outputs: list[str] = []
    for number, value in walk.known("node", node, _NODE):
        if number == 1:
            inputs.append(str(value, "utf-8"))
        elif number == 2:
            outputs.append(str(value, "utf-8"))
        elif number == 4:
            kind = str(value, "utf-8")
        elif number == 5:
            _check_attribute(walk, value)
        elif number == 7:
            domain = str(value, "utf-8")
    if domain not in ("", "ai.onnx") or kind in _REFUSED:
        raise BundleError(f"the model asks for {kind[:50]!r} of {domain[:50]!r}; no bundle does")
    return kind, inputs, outputs


def _check_attribute(walk: "_Walk", attribute: Message) -> None:
    for number, value in walk.known("attribute", attribute, _ATTRIBUTE):
        if number in (5, 10):
            _check_tensor(walk, value)


def _check_tensor(walk: "_Walk", tensor: Message) -> None:
    for number, value in walk.known("tensor", tensor, _TENSOR):
        if number == 14 and any(value):
            raise _refused("tensor", 13)


def _check_sizes(nodes: list[tuple[str, list[str], list[str]]], heard: set[str]) -> None:
    """Follow what depends on the sound's values through the graph, in the order of its nodes."""
    for kind, inputs, outputs in nodes:
        for place in _SIZES.get(kind, ()):
            if place < len(inputs) and inputs[place] in heard:
                raise BundleError(
                    f"the model has a {kind} as large as what is heard says; no bundle does"
                )
        if kind not in _MEASURES and heard.intersection(inputs):
            heard.update(outputs)


class _Walk:
    """Goes through the messages of a model and counts what it sees."""

    def __init__(self) -> None:
        self._num_left = MAX_FIELDS

    def known(
        self, kind: str, message: Message, allowed: frozenset[int]
    ) -> Iterator[tuple[int, Message]]:
        """The fields of a message. Raises BundleError for one that is not allowed, and where there are too many."""
        for number, value, _ in fields(message):
            if number not in allowed:
                raise _refused(kind, number)
            self._num_left -= 1
            if self._num_left < 0:
                raise BundleError(f"the model has more than {MAX_FIELDS:,} parts; no bundle does")
            yield number, value


def _refused(kind: str, number: int) -> BundleError:
    what = _WHAT.get((kind, number), f"field {number} of a {kind}")
    return BundleError(f"the model holds {what}, which no bundle needs; it is not opened")
