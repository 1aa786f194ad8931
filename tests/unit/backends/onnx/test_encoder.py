"""The exported encoder: its hidden states are torch's."""

import numpy as np
import pytest
import tiny_exports

from rerank_plugins import InputError, ModelLoadError
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.backends._onnx.encoder import OnnxEncoder, load_encoder
from rerank_plugins.backends._onnx.files import find_exported
from rerank_plugins.backends._onnx.projection import with_projection
from rerank_plugins.calls import ScorePair

TEXTS = ["a flea", "life of a cat " * 9, "", "sea"]


@pytest.fixture
def folder(tmp_path):
    tiny_exports.bert(tmp_path, "BertModel")
    return tmp_path


@pytest.fixture
def encoder(folder):
    return load_encoder(str(folder))


def test_states_are_torchs(folder, encoder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    source = tiny_exports.bert(folder, "BertModel")
    model = transformers.AutoModel.from_pretrained(source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    found = encoder.states(rows)
    for row, states in zip(rows, found, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([row])).last_hidden_state[0].numpy()
        assert states.shape == (len(row), encoder.dim)
        assert states == pytest.approx(expected, abs=1e-5)


def test_ids_and_what_is_around_them(encoder):
    before, after = encoder.around
    assert [*before, *encoder.ids("a flea"), *after] == [2, 4, 8, 3]
    assert encoder.ids("") == []
    assert encoder.ids("[SEP] flea [CLS]")[-1] != 2
    assert not {0, 2, 3} & set(encoder.ids("[SEP] flea [CLS] [PAD]"))


def test_texts_together_as_on_an_accelerator(encoder):
    rows = [[2, *encoder.ids(text), 3] for text in TEXTS]
    alone = encoder.states(rows)
    encoder._session.on_cpu = False
    for states, expected in zip(encoder.states(rows), alone, strict=True):
        assert states == pytest.approx(expected, abs=1e-5)


def test_the_key_is_that_of_weights_and_tokenizer(folder, tmp_path_factory, encoder):
    assert load_encoder(str(folder)).key == encoder.key
    other = tmp_path_factory.mktemp("other")
    tiny_exports.bert(other, "BertModel", precision="int8")
    assert load_encoder(str(other)).key != encoder.key
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    assert load_encoder(str(folder)).key != encoder.key


def test_eight_bits_are_close(tmp_path, encoder):
    folder = tmp_path / "small"
    tiny_exports.bert(folder, "BertModel", precision="int8")
    row = [2, *encoder.ids("life of a flea"), 3]
    [a], [b] = encoder.states([row]), load_encoder(str(folder)).states([row])
    assert np.linalg.norm(a - b) < 0.25 * np.linalg.norm(a)


def test_a_classifier_is_refused(tmp_path):
    tiny_exports.bert(tmp_path)
    with pytest.raises(ModelLoadError, match="is not an encoder: its weights give logits"):
        load_encoder(str(tmp_path))


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
