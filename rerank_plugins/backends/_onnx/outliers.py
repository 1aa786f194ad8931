"""Graphs whose largest values are spread over several columns, before eight bits round them.

All values that a matrix is multiplied with are rounded to multiples of one step. In trained
transformers a few columns are many times larger than the others, and the step is theirs: most of
what the others hold is lost. A column that is divided by n and stands there n times, beside n
copies of its row of weights, gives the same product with a smaller step (outlier channel splitting,
Zhao et al., 1901.09504).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..._extras import extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Feed = Mapping[str, NDArray[np.int64]]

_AXES = 2
"""Of a matrix: rows and columns."""
_ROOM = 64
"""A matrix gets one more row for each so many that it has."""
_WORTH = 2.0
"""How many times smaller the largest value must become."""


def split_outliers(model: "ModelProto", feeds: Iterable["Feed"]) -> None:
    """Spread the columns with the largest values, where that at least halves the largest.

    A matrix that is used twice stays as it is.

    Args:
        model: An exported graph in 32 bits. It is changed, and computes the same.
        feeds: Inputs of some texts, which show where values are large.
    """
    import numpy as np
    import onnx

    graph, arrays = model.graph, onnx.numpy_helper
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == _AXES}
    uses = Counter(name for node in graph.node for name in node.input)
    made = {name for node in graph.node for name in node.output}
    products = [
        node
        for node in graph.node
        if node.op_type == "MatMul"
        and node.input[0] in made
        and node.input[1] in weights
        and uses[node.input[1]] == 1
    ]
    largest = _largest(model, sorted({node.input[0] for node in products}), feeds)
    wide = dict[str, list["NodeProto"]]()
    for node in products:
        states, matrix = node.input
        copies = _copies(largest[states])
        if largest[states].max() < _WORTH * (largest[states] / copies).max():
            continue
        again = np.repeat(np.arange(len(copies)), copies - 1)
        rows = arrays.to_array(weights[matrix])
        weights[matrix].CopyFrom(arrays.from_array(np.concatenate([rows, rows[again]]), matrix))
        node.input[0] = f"{states}_wide"
        if states not in wide:
            wide[states] = _widening(states)
            shares = (1 / copies).astype(np.float32)
            graph.initializer.append(arrays.from_array(shares, f"{states}_shares"))
            graph.initializer.append(arrays.from_array(again, f"{states}_again"))
    nodes = list["NodeProto"]()
    for node in map(_copied, graph.node):
        nodes.append(node)
        for name in node.output:
            nodes += wide.get(name, ())
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)


def _widening(states: str) -> "list[NodeProto]":
    """The nodes that divide columns of states and repeat them."""
    from onnx.helper import make_node

    divided, repeated = f"{states}_divided", f"{states}_repeated"
    return [
        make_node("Mul", [states, f"{states}_shares"], [divided]),
        make_node("Gather", [divided, f"{states}_again"], [repeated], axis=-1),
        make_node("Concat", [divided, repeated], [f"{states}_wide"], axis=-1),
    ]


def _copies(largest: "NDArray[np.float32]") -> "NDArray[np.int64]":
    """The number of times that each column has to stand."""
    import numpy as np

    copies = np.ones(len(largest), dtype=np.int64)
    for _ in range(-(-len(largest) // _ROOM)):
        copies[np.argmax(largest / copies)] += 1
    return copies


def _largest(
    model: "ModelProto", names: Sequence[str], feeds: Iterable["Feed"]
) -> "dict[str, NDArray[np.float32]]":
    """The largest value, without its sign, in each column of some states."""
    import numpy as np
    import onnx

    library = extra("onnxruntime", "onnx")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {output.name for output in probe.graph.output}
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    session = library.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = dict[str, "NDArray[np.float32]"]()
    for feed in feeds if names else ():  # of no names, it would compute all outputs
        for name, values in zip(names, session.run(names, feed), strict=True):
            most = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, most), most)
    return found


def _copied(node: "NodeProto") -> "NodeProto":
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
