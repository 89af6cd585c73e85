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
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from avgan.errors import BundleError

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_KIND, NODE_DOMAIN = 1, 2, 4, 7
TENSOR_NAME, TENSOR_PLACE, VALUE_NAME = 8, 14, 1

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

_FIELDS: Mapping[str, frozenset[int]] = {
    "model": frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14}),
    "graph": frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16}),
    "node": frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9}),
    "attribute": frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20}),
    "tensor": frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16}),
}
"""Those that may be there, by message; what is not named is refused."""
_MESSAGES: Mapping[tuple[str, int], str] = {
    ("model", MODEL_GRAPH): "graph",
    ("graph", GRAPH_NODE): "node",
    ("graph", GRAPH_INITIALIZER): "tensor",
    ("node", 5): "attribute",
    ("attribute", 5): "tensor",
    ("attribute", 10): "tensor",
}
"""Fields that hold messages whose fields are looked at in turn."""

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
    ("tensor", TENSOR_PLACE): "numbers that lie in another file",
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


class _Node(NamedTuple):
    """An operation: its field in the graph, and what that says."""

    whole: Message
    kind: str
    domain: str
    inputs: list[str]
    outputs: list[str]


@dataclass
class _Graph:
    """The parts of a graph, each as it stands in the file."""

    nodes: list[_Node] = field(default_factory=list)
    initializers: dict[str, Message] = field(default_factory=dict)
    infos: dict[str, Message] = field(default_factory=dict)
    """What is said of the type and the shape of tensors."""
    inputs: list[str] = field(default_factory=list)
    rest: list[Message] = field(default_factory=list)

    @classmethod
    def of(cls, model: Message) -> "_Graph":
        """That of a model. Raises IndexError where it has not one: several would be taken for one."""
        graphs = [value for number, value, _ in fields(model) if number == MODEL_GRAPH]
        if len(graphs) != 1:
            raise IndexError
        found = cls()
        for number, value, whole in fields(graphs[0]):
            if number == GRAPH_NODE:
                inputs, outputs, kinds, domains = texts(value, NODE_INPUT, NODE_OUTPUT, NODE_KIND, NODE_DOMAIN)
                found.nodes.append(_Node(whole, "".join(kinds[-1:]), "".join(domains[-1:]), inputs, outputs))
            elif number == GRAPH_INITIALIZER:
                found.initializers[texts(value, TENSOR_NAME)[0][0]] = whole
            elif number in (GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO):
                name = texts(value, VALUE_NAME)[0][0]
                found.infos[name] = value
                if number == GRAPH_INPUT:
                    found.inputs.append(name)
            else:
                found.rest.append(whole)
        return found


def cut(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The part of a model that computes the tensors `outputs` from the tensors `inputs`.

    Raises BundleError where the file is no ONNX model, where it has no tensor of such a name, or where the outputs
    need something else than the inputs.
    """
    with _in_a_line():
        graph = _Graph.of(memoryview(model))
        nodes, tensors = _needed(graph, inputs, outputs)
        for name in (*inputs, *outputs):
            if name not in graph.infos:
                raise BundleError(f"the model says nothing of {name!r}; export the bundle again")
        part = b"".join(
            (
                *(graph.nodes[index].whole for index in sorted(nodes)),
                *graph.rest,
                *(tensor for name, tensor in graph.initializers.items() if name in tensors),
                *(_field(GRAPH_INPUT, graph.infos[name]) for name in inputs),
                *(_field(GRAPH_OUTPUT, graph.infos[name]) for name in outputs),
            )
        )
        parts = fields(memoryview(model))
        return b"".join(_field(MODEL_GRAPH, part) if number == MODEL_GRAPH else whole for number, _, whole in parts)


def _needed(graph: _Graph, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[set[int], set[str]]:
    """Which nodes and which initializers the outputs need, going back as far as the inputs."""
    maker = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    nodes: set[int] = set()
    tensors: set[str] = set()
    open_names = list(outputs)
    while open_names:
        name = open_names.pop()
        if not name or name in inputs or name in tensors:  # an optional input has no name
            continue
        if name in graph.initializers:
            tensors.add(name)
        elif name not in maker:
            raise BundleError(f"the part of the model needs {name!r}; export the bundle again")
        elif maker[name] not in nodes:
            nodes.add(maker[name])
            open_names.extend(graph.nodes[maker[name]].inputs)
    return nodes, tensors


def check_graph(model: bytes, between: Iterable[str] = ()) -> None:
    """Raise BundleError where the model holds what no bundle needs, or is no ONNX model.

    `between`: the tensors beside the inputs at which the graph is cut, where values come in, too.
    """
    with _in_a_line():
        _check_fields("model", memoryview(model), MAX_FIELDS)
        graph = _Graph.of(memoryview(model))
        if len(graph.nodes) > MAX_NODES:
            raise BundleError(f"the model has more than {MAX_NODES:,} operations; no bundle does")
        # Follow what depends on the sound's values, in the order of the nodes. Old files list their own numbers as
        # inputs, too.
        of_sound = set(graph.inputs).difference(graph.initializers).union(between)
        for node in graph.nodes:
            if node.domain not in ("", "ai.onnx") or node.kind in _REFUSED:
                asked = f"{node.kind[:50]!r} of {node.domain[:50]!r}"
                raise BundleError(f"the model asks for {asked}; no bundle does")
            for place in _SIZES.get(node.kind, ()):
                if place < len(node.inputs) and node.inputs[place] in of_sound:
                    raise BundleError(f"the model has a {node.kind} as large as what is heard says; no bundle does")
            if node.kind not in _MEASURES and of_sound.intersection(node.inputs):
                of_sound.update(node.outputs)


def _check_fields(kind: str, message: Message, num_left: int) -> int:
    """How many fields may follow. Raises BundleError where one that is not allowed is in it, or there are too many."""
    for number, value, _ in fields(message):
        if number not in _FIELDS[kind] or ((kind, number) == ("tensor", TENSOR_PLACE) and any(value)):
            what = _WHAT.get((kind, number), f"field {number} of a {kind}")
            raise BundleError(f"the model holds {what}, which no bundle needs; it is not opened")
        num_left -= 1
        if num_left < 0:
            raise BundleError(f"the model has more than {MAX_FIELDS:,} parts; no bundle does")
        if (kind, number) in _MESSAGES:
            num_left = _check_fields(_MESSAGES[kind, number], value, num_left)
    return num_left


@contextmanager
def _in_a_line() -> Iterator[None]:
    """Turn what reading finds into BundleError."""
    try:
        yield
    except (IndexError, UnicodeDecodeError):
        raise BundleError("the model is not an ONNX file; export the bundle again") from None


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


def texts(message: Message, *numbers: int) -> list[list[str]]:
    """All texts that a message holds in the fields of each number."""
    found: dict[int, list[str]] = {number: [] for number in numbers}
    for number, value, _ in fields(message):
        if number in found:
            found[number].append(str(value, "utf-8"))
    return list(found.values())
