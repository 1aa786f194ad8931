"""A linear map of the vectors of tokens, as a second output of an exported encoder.

Late interaction may be trained as ColBERT's last layer is: a matrix alone, on an encoder that stays
as it is. The states stay an output too, so that their means are what they were.
"""

from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

PROJECTED = "token_vectors"
"""The name of the output."""
_STATES, _WEIGHT = "last_hidden_state", "token_projection"


def with_projection(model: Any, weight: "Floats") -> Any:
    """Add the output ``states @ weight.T`` to a graph, or replace the one that it has.

    Args:
        model: An exported encoder, an ``onnx.ModelProto``; it is changed.
        weight: Shape ``(out, dim)``, as a linear layer of torch has it.

    Raises:
        InputError: It has no hidden states, or ones of another size than the weight.
    """
    onnx = extra("onnx", "export")
    graph = model.graph
    states = next((one for one in graph.output if one.name == _STATES), None)
    if states is None:
        raise InputError(f"the graph has no output {_STATES}: it is not an encoder")
    dim = states.type.tensor_type.shape.dim[-1].dim_value or weight.shape[-1]
    if weight.ndim != 2 or weight.shape[1] != dim:
        raise InputError(f"the projection has shape {weight.shape}, and the states {dim} numbers")
    for kept, name in (
        (graph.node, _WEIGHT),
        (graph.initializer, _WEIGHT),
        (graph.output, PROJECTED),
    ):
        for old in [one for one in kept if one.name == name]:
            kept.remove(old)
    graph.initializer.append(onnx.numpy_helper.from_array(weight.T.astype("float32"), _WEIGHT))
    node = onnx.helper.make_node("MatMul", [_STATES, _WEIGHT], [PROJECTED], name=_WEIGHT)
    graph.node.append(node)
    shape = ["batch", "tokens", int(weight.shape[0])]
    kind = onnx.TensorProto.FLOAT
    graph.output.append(onnx.helper.make_tensor_value_info(PROJECTED, kind, shape))
    return model
