"""A linear map of token vectors as a second output: late interaction reads it, and nothing else."""

import numpy as np
import pytest
import tiny_exports

from rerank_plugins import InputError
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.backends._onnx.encoder import OnnxEncoder, load_encoder
from rerank_plugins.backends._onnx.files import find_exported
from rerank_plugins.backends._onnx.projection import with_projection
from rerank_plugins.calls import ScorePair


def projected(folder, weight):
    """The exported encoder of a folder, with a linear map of its states as a second output."""
    onnx = pytest.importorskip("onnx")
    path = folder / "model.onnx"
    onnx.save(with_projection(onnx.load(str(path)), weight), str(path))


def test_vectors_of_tokens_are_projected_and_states_stay(folder, encoder):
    row = [2, *encoder.ids("life of a flea"), 3]
    [states] = encoder.states([row])
    weight = np.random.default_rng(0).normal(size=(5, encoder.dim)).astype(np.float32)
    projected(folder, weight)
    assert load_encoder(str(folder)).states([row])[0] == pytest.approx(states, abs=1e-6)
    files = find_exported(str(folder), "auto")
    tokens = OnnxEncoder.of(files, device="cpu", threads=1, projected=True)
    assert tokens.dim == 5
    assert tokens.states([row])[0] == pytest.approx(states @ weight.T, abs=1e-4)


def test_a_projection_is_replaced_by_another(folder, encoder):
    projected(folder, np.zeros((3, encoder.dim), np.float32))
    projected(folder, np.eye(encoder.dim, dtype=np.float32))
    files = find_exported(str(folder), "auto")
    again = OnnxEncoder.of(files, device="cpu", threads=1, projected=True)
    assert again.states([[2, 4, 3]])[0] == pytest.approx(encoder.states([[2, 4, 3]])[0], abs=1e-6)


def test_late_interaction_compares_what_is_projected_and_the_cosine_does_not(folder, encoder):
    query, passage = "life of a flea", "a very good cat"
    calls = [ScorePair(query, passage)]
    stated = {"cache_bytes": 0, "cache_precision": "float32", "engine": "onnx"}
    before = [
        LateInteractionBackend(folder, **stated).run(calls)[0].answer,
        encoder.states([[2, *encoder.ids(passage), 3]])[0].mean(0),
    ]
    weight = np.diag(np.linspace(0.1, 3, encoder.dim)).astype(np.float32)
    projected(folder, weight)
    now = load_encoder(str(folder))
    assert now.states([[2, *now.ids(passage), 3]])[0].mean(0) == pytest.approx(before[1], abs=1e-6)
    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True)
        for v in (now.states([[2, *now.ids(text), 3]])[0] @ weight.T for text in (query, passage))
    ]
    expected = (unit[0] @ unit[1][1:-1].T).max(1).mean()
    [found] = LateInteractionBackend(folder, **stated).run(calls)
    assert found.answer == pytest.approx(expected, abs=1e-5)
    assert found.answer != pytest.approx(before[0], abs=1e-4)


@pytest.mark.parametrize("shape", [(3, 7), (9,)])
def test_a_projection_of_another_size_is_refused(folder, shape):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(folder / "model.onnx"))
    with pytest.raises(InputError, match="the projection has shape"):
        with_projection(model, np.zeros(shape, np.float32))


def test_a_classifier_has_no_vectors_to_project(tmp_path):
    onnx = pytest.importorskip("onnx")
    tiny_exports.bert(tmp_path)
    model = onnx.load(str(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match="the graph has no output last_hidden_state"):
        with_projection(model, np.eye(16, dtype=np.float32))
