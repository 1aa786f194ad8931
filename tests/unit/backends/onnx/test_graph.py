"""The last operation of a graph, by hand-made graphs and damaged files."""

from itertools import pairwise

import numpy as np
import pytest

from rerank_plugins.backends._onnx.graph import last_operation

onnx = pytest.importorskip("onnx")


def written(path, *operations):
    """A graph of operations, one after the other."""
    helper = onnx.helper
    names = ["x", *(f"t{i}" for i in range(len(operations)))]
    nodes = [
        helper.make_node(operation, [a], [b])
        for operation, (a, b) in zip(operations, pairwise(names), strict=True)
    ]
    ends = [helper.make_tensor_value_info(n, 1, [None, 1]) for n in (names[0], names[-1])]
    weights = [onnx.numpy_helper.from_array(np.zeros(500, "float32"), "w")]
    graph = helper.make_graph(nodes, "g" * 200, ends[:1], ends[1:], initializer=weights)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return names[-1]


@pytest.mark.parametrize(
    ("operations", "last"),
    [
        (["Gemm"], "Gemm"),
        (["Gemm", "Sigmoid"], "Sigmoid"),
        (["Sigmoid", "Gemm"], "Gemm"),
        (["Sigmoid", "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten"], "Sigmoid"),
        (["Identity"], "Identity"),
        ([], None),
    ],
)
def test_the_last_operation(tmp_path, operations, last):
    path = tmp_path / "model.onnx"
    assert last_operation(path, written(path, *operations)) == last


def test_the_output_that_is_asked_for(tmp_path):
    path = tmp_path / "model.onnx"
    written(path, "Gemm", "Sigmoid")
    assert last_operation(path, "t0") == "Gemm"
    assert last_operation(path, "absent") is None


def test_damaged_files_say_nothing(tmp_path):
    path = tmp_path / "model.onnx"
    output = written(path, "Gemm", "Sigmoid")
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert last_operation(path, output) in (None, "Gemm", "Sigmoid")
    for damaged in (b"", b"\xff" * 99, b"\x3b" * 9, b"\x3a\xff\xff\xff\xff\x0f"):
        path.write_bytes(damaged)
        assert last_operation(path, output) is None
    assert last_operation(tmp_path / "absent", output) is None


def test_a_circle_ends(tmp_path):
    helper = onnx.helper
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in ("ab", "ba")]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString())
    assert last_operation(path, "a") == "Identity"
