"""Cutting a part out of an ONNX graph, so that one file serves whole and in parts.

A recording of a day shares what it heard between windows, and most answers need no picture: both want a part of the
model alone. An ONNX file is one protocol-buffer message, in which a part of a graph is a choice among the same bytes;
the `onnx` package would do the same at the price of eighteen megabytes in every light installation.

Field numbers: onnx.proto3, IR version 10.
"""

from collections.abc import Iterator, Sequence

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
    return b"".join(
        _field(MODEL_GRAPH, part) if number == MODEL_GRAPH else whole for number, _, whole in parts
    )


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
