"""The last operation of an exported graph, read from its file without the package ``onnx``."""

import mmap
from collections.abc import Iterator
from pathlib import Path

# Numbers of fields in onnx.proto.
_GRAPH, _NODE = 7, 1
_INPUT, _OUTPUT, _OPERATION = 1, 2, 4
_MORE = 0x80
_SAME_VALUES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def last_operation(path: Path, output: str) -> str | None:
    """The operation that computes an output, before copies, casts and changes of shape.

    Args:
        path: The graph, as onnxruntime has loaded it.
        output: The name of the output.

    Returns:
        The operation's name, such as ``"Gemm"`` or ``"Sigmoid"``; None if the file has another
        layout than that of ONNX.
    """
    made: dict[str, tuple[str, str]] = {}
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for node in _nodes(data):
                made |= node
    except (OSError, ValueError, IndexError):
        return None
    operation = None
    for _ in range(len(made)):  # a damaged graph may have circles
        if output not in made:
            break
        operation, output = made[output]
        if operation not in _SAME_VALUES:
            break
    return operation


def _nodes(data: mmap.mmap) -> Iterator[dict[str, tuple[str, str]]]:
    """Each output of each node, with the node's operation and its first input."""
    for number, start, end in _fields(data, 0, len(data)):
        if number != _GRAPH:
            continue
        for kind, first, last in _fields(data, start, end):
            if kind != _NODE:
                continue
            texts: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _OPERATION: []}
            for part, a, b in _fields(data, first, last):
                if part in texts:
                    texts[part].append(data[a:b].decode("utf-8", "replace"))
            operation = "".join(texts[_OPERATION])
            source = "".join(texts[_INPUT][:1])
            yield dict.fromkeys(texts[_OUTPUT], (operation, source))


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The sized fields of a message: number, begin and end."""
    while at < end:
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                yield key >> 3, at, at + size
                at += size
            case 5:
                at += 4
            case kind:
                raise ValueError(f"there is no wire type {kind}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while data[at] & _MORE:
        value |= (data[at] & ~_MORE) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
