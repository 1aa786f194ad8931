"""Large values are spread over several columns: the same product, closer in eight bits."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
library = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")

from rerank_plugins.backends._onnx.outliers import split_outliers  # noqa: E402

WIDTH = 128


def graph(*weights, shared=False):
    """States, doubled, times each matrix; or twice times the first one."""
    names = ["w0"] * 2 if shared else [f"w{i}" for i in range(len(weights))]
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        [
            node("Add", ["x", "x"], ["states"]),
            *(node("MatMul", ["states", w], [f"y{i}"]) for i, w in enumerate(names)),
        ],
        "products",
        [info("x", float32, ["batch", "tokens", WIDTH])],
        [info(f"y{i}", float32, ["batch", "tokens", None]) for i in range(len(names))],
        [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    return onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )


def states(outliers):
    """Standard normal values, some columns of which are larger."""
    values = np.random.default_rng(0).standard_normal((3, 7, WIDTH)).astype(np.float32)
    for column, times in outliers.items():
        values[..., column] *= times
    return values


def matrix(seed):
    return np.random.default_rng(seed).standard_normal((WIDTH, 16)).astype(np.float32)


def run(model, x):
    session = library.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def split(model, x):
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    split_outliers(changed, [{"x": x}])
    onnx.checker.check_model(changed)
    return changed


def shapes(model):
    return [list(tensor.dims) for tensor in model.graph.initializer if tensor.name[0] == "w"]


@pytest.mark.parametrize("outliers", [{5: 20.0}, {0: 9.0, 127: 9.0}, {3: -30.0, 4: 10.0}])
def test_the_products_stay(outliers):
    x = states(outliers)
    whole = graph(matrix(1), matrix(2))
    found = split(whole, x)
    for other in (x, states({7: 50.0})):  # also where other columns are large
        for a, b in zip(run(found, other), run(whole, other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


def test_the_matrices_grow_by_a_row_for_each_64():
    assert shapes(split(graph(matrix(1)), states({5: 20.0}))) == [[WIDTH + 2, 16]]


def test_eight_bits_err_less(tmp_path):
    x, whole = states({5: 20.0}), graph(matrix(1))
    [right] = run(whole, x)
    errors = []
    for model in (whole, split(whole, x)):
        path = str(tmp_path / "small.onnx")
        quantization.quantize_dynamic(model, path, weight_type=quantization.QuantType.QInt8)
        [found] = run(onnx.load(path), x)
        errors.append(np.linalg.norm(found - right))
    # The largest value is a third, and so is the step.
    assert errors[1] < 0.6 * errors[0]


def test_values_of_one_size_stay_as_they_are():
    whole = graph(matrix(1))
    assert split(whole, states({})).graph == whole.graph


def test_a_matrix_that_is_used_twice_stays_as_it_is():
    whole = graph(matrix(1), shared=True)
    assert split(whole, states({5: 20.0})).graph == whole.graph


def test_states_that_are_an_output_too():
    whole = graph(matrix(1))
    float32, shape = onnx.TensorProto.FLOAT, ["batch", "tokens", WIDTH]
    states_too = onnx.helper.make_tensor_value_info("states", float32, shape)
    whole.graph.output.append(states_too)
    x = states({5: 20.0})
    for a, b in zip(run(split(whole, x), x), run(whole, x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
