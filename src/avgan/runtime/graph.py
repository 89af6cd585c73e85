"""ONNX graphs: what a model's graph may be made of, and cutting a part out, so that one file serves whole and in parts.

A recording of a day shares what it heard between windows, and most answers need no picture: both want a part of the
model alone. An ONNX file is one protocol-buffer message, in which a part of a graph is a choice among the same bytes;
the `onnx` package would do the same at the price of eighteen megabytes in every light installation.

What a graph may hold is checked before ONNX Runtime sees it. A graph computes from its own numbers: no tensor may lie
in another file (ONNX Runtime would open it), and nothing may hold graphs of its own, where loops without end and
tensors at unseen depth would be. The size of a tensor may depend on how long the sound is, never on its content, so
that one run shows what all runs cost.

Field numbers: onnx.proto3, IR version 10.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from avgan.errors import BundleError

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT = 1, 2
TENSOR_NAME, VALUE_NAME = 8, 1

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
"""Of a number of 64 bits."""
MAX_KEY = 2**32 - 1
"""Other readers cut off what is larger, and so read another field."""

Message = memoryview

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


def cut(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The part of a model that computes the tensors `outputs` from the tensors `inputs`.

    Raises BundleError where the file is no ONNX model, where it has no tensor of such a name, or where the outputs
    need something else than the inputs.
    """
    try:
        return _cut(memoryview(model), inputs, outputs)
    except (IndexError, UnicodeDecodeError):
        raise BundleError("the model is not an ONNX file; export the bundle again") from None


def _cut(model: Message, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    parts = list(fields(model))
    graphs = [value for number, value, _ in parts if number == MODEL_GRAPH]
    if len(graphs) != 1:  # several would be taken for one
        raise IndexError
    (graph,) = graphs
    nodes: list[tuple[list[str], list[str]]] = []
    node_fields: list[Message] = []
    initializers: dict[str, Message] = {}
    infos: dict[str, Message] = {}
    rest: list[Message] = []
    for number, value, whole in fields(graph):
        if number == GRAPH_NODE:
            nodes.append((texts(value, NODE_INPUT), texts(value, NODE_OUTPUT)))
            node_fields.append(whole)
        elif number == GRAPH_INITIALIZER:
            initializers[texts(value, TENSOR_NAME)[0]] = whole
        elif number in (GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO):
            infos[texts(value, VALUE_NAME)[0]] = value
        else:
            rest.append(whole)
    kept_nodes, kept_tensors = _needed(nodes, initializers, inputs, outputs)
    missing = [name for name in (*inputs, *outputs) if name not in infos]
    if missing:
        raise BundleError(f"the model says nothing of {missing[0]!r}; export the bundle again")
    part = b"".join(
        (
            *(node_fields[index] for index in sorted(kept_nodes)),
            *rest,
            *(initializers[name] for name in initializers if name in kept_tensors),
            *(_field(GRAPH_INPUT, infos[name]) for name in inputs),
            *(_field(GRAPH_OUTPUT, infos[name]) for name in outputs),
        )
    )
    return b"".join(_field(MODEL_GRAPH, part) if number == MODEL_GRAPH else whole for number, _, whole in parts)


def _needed(
    nodes: Sequence[tuple[list[str], list[str]]],
    initializers: dict[str, Message],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> tuple[set[int], set[str]]:
    """Which nodes and which initializers the outputs need, going back as far as the inputs."""
    maker = {name: index for index, (_, made) in enumerate(nodes) for name in made}
    kept_nodes: set[int] = set()
    kept_tensors: set[str] = set()
    open_names = list(outputs)
    while open_names:
        name = open_names.pop()
        if not name or name in inputs or name in kept_tensors:  # an optional input has no name
            continue
        if name in initializers:
            kept_tensors.add(name)
        elif name not in maker:
            raise BundleError(f"the part of the model needs {name!r}; export the bundle again")
        elif maker[name] not in kept_nodes:
            kept_nodes.add(maker[name])
            open_names.extend(nodes[maker[name]][0])
    return kept_nodes, kept_tensors


def fields(message: Message) -> Iterator[tuple[int, Message, Message]]:
    """The fields of a message: number, value, and the whole of it with its number and length."""
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        if key > MAX_KEY:
            raise IndexError
        kind = key & 7
        if kind == LENGTH:
            size, position = _varint(message, position)
        elif kind == VARINT:
            size = _varint(message, position)[1] - position
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise IndexError
        end = position + size
        if end > len(message):
            raise IndexError
        yield key >> 3, message[position:end], message[start:end]
        position = end


def _varint(message: Message, position: int) -> tuple[int, int]:
    """The number at a position, seven bits a byte, and the position behind it."""
    value = 0
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError


def _field(number: int, value: bytes | Message) -> bytes:
    """A field of variable length, as it stands in a message."""
    return _to_varint(number << 3 | LENGTH) + _to_varint(len(value)) + bytes(value)


def _to_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def texts(message: Message, wanted: int) -> list[str]:
    """All texts that a message holds in the field of one number."""
    return [str(value, "utf-8") for number, value, _ in fields(message) if number == wanted]


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
    graphs = [value for number, value in walk.known("model", model, _MODEL) if number == MODEL_GRAPH]
    if len(graphs) != 1:
        raise IndexError
    heard: set[str] = set()
    known: set[str] = set()
    nodes: list[tuple[str, list[str], list[str]]] = []
    for number, value in walk.known("graph", graphs[0], _GRAPH):
        if number == 1:
            nodes.append(_check_node(walk, value))
            if len(nodes) > MAX_NODES:
                raise BundleError(f"the model has more than {MAX_NODES:,} operations; no bundle does")
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
                raise BundleError(f"the model has a {kind} as large as what is heard says; no bundle does")
        if kind not in _MEASURES and heard.intersection(inputs):
            heard.update(outputs)


class _Walk:
    """Goes through the messages of a model and counts what it sees."""

    def __init__(self) -> None:
        self._num_left = MAX_FIELDS

    def known(self, kind: str, message: Message, allowed: frozenset[int]) -> Iterator[tuple[int, Message]]:
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
