"""Graphs of classifiers that read the first token, without what only other tokens need.

The last attention of such a classifier needs every token as a key and a value. Its queries, and all
that follows it, are needed for the first token alone: of six layers, that saves an eighth of the
work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..._extras import extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

_TOKENS, _STATES = 1, 3
"""The axis of tokens in states, and their axes: batch, tokens, the vector."""
_HEADS = 4
"""Axes of states that are split into heads."""
_ELEMENTWISE = frozenset(
    {
        *("Add", "Cast", "Clip", "Div", "Erf", "Gelu", "Identity", "Mul", "Neg", "Pow", "Relu"),
        *("Sigmoid", "Sqrt", "Sub", "Tanh"),
    }
)
_ALONG_THE_LAST = frozenset({"LayerNormalization", "Softmax"})


def keep_first_token(model: "ModelProto") -> "ModelProto":
    """Compute one row where a graph throws all others away later; the results are the same.

    The choice of the first token moves up, past operations that treat tokens alike, to where other
    rows are needed too. A graph that does not choose the first token stays as it is.

    Args:
        model: An exported graph.
    """
    onnx = extra("onnx", "export")
    found: ModelProto = onnx.shape_inference.infer_shapes(model)
    facts = _Facts.of(found.graph)
    # For each tensor, and for each node that reads it: along which axis one row is enough.
    asked: dict[str, list[int | None]] = {output.name: [None] for output in found.graph.output}
    read: dict[int, Sequence[int | None]] = {}
    alone = set[str]()
    for i, node in reversed(list(enumerate(found.graph.node))):
        wanted = {axis for name in node.output for axis in asked.get(name, ())}
        axis = wanted.pop() if len(wanted) == 1 else None
        if facts.takes_first(node):
            read[i] = [_TOKENS, None]
        elif axis is not None and (needed := facts.needed(node, axis)) is not None:
            read[i] = needed
            alone.add(node.output[0])
        for name, own in zip(node.input, read.get(i, [None] * len(node.input)), strict=True):
            asked.setdefault(name, []).append(own)
    return _rewritten(found, read, alone, facts) if alone else model


def _rewritten(
    model: "ModelProto",
    read: Mapping[int, Sequence[int | None]],
    alone: set[str],
    facts: "_Facts",
) -> "ModelProto":
    """The graph with the choice where its rows begin to be enough.

    Args:
        model: The graph; it is changed.
        read: For each node that needs one row of its inputs, the axis of each input, or None.
        alone: The outputs of which nothing but that row is computed.
        facts: What is known about the graph.
    """
    import numpy as np
    import onnx

    nodes, names, numbers = (
        list["NodeProto"](),
        dict[tuple[str, int], str](),
        dict[str, list[int]](),
    )

    def number(values: list[int]) -> str:
        name = "first_token_" + "_".join(map(str, values))
        numbers[name] = values
        return name

    for i, source in enumerate(model.graph.node):
        node = onnx.NodeProto()
        node.CopyFrom(source)
        for k, axis in enumerate(read.get(i, ())):
            tensor = node.input[k]
            if axis is None or tensor in alone:
                continue
            if (tensor, axis) not in names:
                names[tensor, axis] = f"{tensor}_first_{axis}"
                inputs = [tensor, number([0]), number([1]), number([axis])]
                nodes.append(onnx.helper.make_node("Slice", inputs, [names[tensor, axis]]))
            node.input[k] = names[tensor, axis]
        if node.op_type == "Reshape" and node.output[0] in alone:
            node.input[1] = number([0, 1, *facts.sizes(source)])
        nodes.append(node)
    graph = model.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in numbers.items()
    )
    return model


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts about the tensors of a graph.

    Args:
        ranks: The number of their axes.
        constants: The values of those that are constant.
        makers: The nodes that compute them.
    """

    ranks: Mapping[str, int]
    constants: Mapping[str, "NDArray[np.generic]"]
    makers: Mapping[str, "NodeProto"]

    @classmethod
    def of(cls, graph: "GraphProto") -> "_Facts":
        import onnx

        constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        known = (*graph.value_info, *graph.input, *graph.output)
        ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in known}
        ranks |= {name: values.ndim for name, values in constants.items()}
        return cls(ranks, constants, {name: node for node in graph.node for name in node.output})

    def takes_first(self, node: "NodeProto") -> bool:
        """Whether a node takes the first token of states."""
        if node.op_type != "Gather" or self.ranks.get(node.input[0]) != _STATES:
            return False
        index = self.constants.get(node.input[1])
        return _axis(node, 0) == _TOKENS and index is not None and index.shape == () and not index

    def needed(self, node: "NodeProto", axis: int) -> Sequence[int | None] | None:
        """Say what the first row of a node's output needs.

        Returns:
            For each input the axis along which its first row is enough, or None where it is needed
            whole; None alone where this is not known.
        """
        rank = self.ranks.get(node.output[0], 0)
        ranks = [self.ranks.get(name) for name in node.input]
        if node.op_type in _ELEMENTWISE:
            # An input with few axes has none of tokens.
            if all(n == rank or (n is not None and n < rank - axis) for n in ranks):
                return [axis if n == rank else None for n in ranks]
            return None
        if node.op_type == "Transpose":
            order = [int(i) for a in node.attribute if a.name == "perm" for i in a.ints]
            return [order[axis]] if order else None
        if (
            (node.op_type in _ALONG_THE_LAST and axis < rank - 1 == _axis(node, -1) % rank)
            or (node.op_type == "MatMul" and axis == rank - 2 and ranks[0] == rank)
            or (node.op_type == "Reshape" and axis == _TOKENS and self._of_heads(node))
        ):
            return [axis, *[None] * (len(node.input) - 1)]
        return None

    def _of_heads(self, node: "NodeProto") -> bool:
        """Whether a node splits the vectors of tokens into heads, or joins these again."""
        before, after = (self.ranks.get(name) for name in (node.input[0], node.output[0]))
        made = self.makers.get(node.input[0])
        # Heads stand before tokens: to be joined, they first change places.
        joins = (before, after) == (_HEADS, _STATES) and made and made.op_type == "Transpose"
        splits = (before, after) == (_STATES, _HEADS)
        return bool(joins or splits) and len(self.sizes(node)) == (after or 0) - 2

    def sizes(self, node: "NodeProto") -> list[int]:
        """The sizes that a reshape states after those of the batch and the tokens."""
        shape = self.makers.get(node.input[1])
        if shape is None or shape.op_type != "Concat":
            return []
        stated = [self.constants.get(name) for name in shape.input]
        if any(size is not None for size in stated[:2]):
            return []
        return [int(size[0]) for size in stated[2:] if size is not None and size.size == 1]


def _axis(node: "NodeProto", default: int) -> int:
    """The axis that a node works along."""
    return next((int(a.i) for a in node.attribute if a.name == "axis"), default)
