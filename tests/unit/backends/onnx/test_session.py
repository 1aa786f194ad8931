"""Graphs that onnxruntime cannot run, or that want other inputs: one clear error each."""

import pytest
import tiny_exports

from rerank_plugins import ModelLoadError
from rerank_plugins.backends import OnnxCrossEncoderBackend
from rerank_plugins.backends._onnx import session as module
from rerank_plugins.backends._onnx.files import find_exported
from rerank_plugins.backends._onnx.session import Session
from rerank_plugins.backends._onnx.tokens import Row

onnx = pytest.importorskip("onnx")


@pytest.fixture
def folder(tmp_path):
    tiny_exports.bert(tmp_path)
    return tmp_path


def loaded(folder, **options):
    chosen = {"device": "cpu", "threads": 1, "padding": 0} | options
    return Session(find_exported(str(folder), "auto"), **chosen)


def changed(folder, change):
    path = folder / "model.onnx"
    graph = onnx.load(path)
    change(graph)
    onnx.save(graph, path)


def test_padding_changes_nothing_but_rounding(folder):
    session = loaded(folder)
    rows = [Row([2, *[8] * n, 3, 4, 3], [0] * (n + 2) + [1, 1]) for n in (1, 9, 3)]
    together = session.run(rows, "logits")
    assert together.shape == (3, 1)
    for row, found in zip(rows, together, strict=True):
        assert session.run([row], "logits")[0] == pytest.approx(found, abs=1e-5)


def test_inputs_of_32_bits(folder):
    expected = loaded(folder).run([Row([2, 8, 3], [0, 0, 0])], "logits")

    def narrow(graph):
        names = [value.name for value in graph.graph.input]
        for value in graph.graph.input:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT32
        for node in graph.graph.node:
            for i, name in enumerate(node.input):
                if name in names:
                    node.input[i] = f"{name}_64"
        for name in names:
            cast = onnx.helper.make_node("Cast", [name], [f"{name}_64"], to=onnx.TensorProto.INT64)
            graph.graph.node.insert(0, cast)

    changed(folder, narrow)
    assert loaded(folder).run([Row([2, 8, 3], [0, 0, 0])], "logits") == pytest.approx(expected)


def test_another_input_is_refused(folder):
    def more(graph):
        wanted = onnx.helper.make_tensor_value_info("pixel_values", 1, ["batch", 3])
        graph.graph.input.append(wanted)

    changed(folder, more)
    with pytest.raises(ModelLoadError, match="it wants pixel_values"):
        loaded(folder)


def test_a_fixed_size_is_refused(folder):
    def fix(graph):
        graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128

    changed(folder, fix)
    with pytest.raises(ModelLoadError, match="its input input_ids has the fixed shape"):
        loaded(folder)


def test_an_opset_of_the_future_is_refused(folder):
    def ahead(graph):
        graph.opset_import[0].version = 9999

    changed(folder, ahead)
    with pytest.raises(ModelLoadError, match=r"cannot run .*model\.onnx.*opset"):
        OnnxCrossEncoderBackend(folder).warm_up()


def test_an_operation_that_is_not_there_is_refused(folder):
    """As with a quantisation that this onnxruntime does not have."""

    def unknown(graph):
        graph.graph.node[-1].op_type = "MatMulOfTwoBits"

    changed(folder, unknown)
    with pytest.raises(ModelLoadError, match=r"cannot run .*MatMulOfTwoBits"):
        OnnxCrossEncoderBackend(folder).warm_up()


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x07" * 99])
def test_a_damaged_file_is_refused(folder, data):
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ModelLoadError, match=r"cannot run .*model\.onnx"):
        OnnxCrossEncoderBackend(folder).warm_up()


def test_weights_elsewhere_are_not_read(folder):
    """A graph may not name a file outside its folder."""
    secret = folder.parent / f"{folder.name}-secret"
    secret.write_bytes(b"\0" * 10_000)

    def outside(graph):
        weight = max(graph.graph.initializer, key=lambda w: len(w.raw_data))
        size = len(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": f"../{secret.name}", "offset": 0, "length": size}.items():
            entry = weight.external_data.add()
            entry.key, entry.value = key, str(value)

    path = folder / "model.onnx"
    graph = onnx.load(path)
    outside(graph)
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelLoadError, match="cannot run"):
        OnnxCrossEncoderBackend(folder).warm_up()


@pytest.mark.parametrize(
    ("stated", "threads"), [("", 0), ("3", 3), ("2,1", 2), (" 4 ", 4), ("many", 0), ("-1", 0)]
)
def test_threads_of_the_environment(monkeypatch, stated, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert module._stated_threads() == threads


def test_a_fork_keeps_the_parents_session_and_loads_another(folder, monkeypatch):
    monkeypatch.setattr(module, "_left", [])
    session = loaded(folder)
    row = Row([2, 8, 3], [0, 0, 0])
    expected = session.run([row], "logits")
    parents = session._loaded
    session._at_fork_reinit()
    assert module._left == [parents]
    assert session.run([row], "logits") == expected
    assert session._loaded is not parents
