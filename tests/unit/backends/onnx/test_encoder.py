"""The exported encoder: its hidden states are torch's."""

import numpy as np
import pytest
import tiny_exports

from rerank_plugins import ModelLoadError
from rerank_plugins.backends._onnx.encoder import load_encoder

TEXTS = ["a flea", "life of a cat " * 9, "", "sea"]


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


@pytest.mark.parametrize(
    "name", ["special_tokens_map.json", "model.onnx_data", "model.onnx.data", "model.onnx_data_1"]
)
def test_the_key_is_that_of_all_files_that_change_vectors(folder, encoder, name):
    path = encoder._files.weights.parent if name.startswith("model") else folder
    keys = {encoder.key}
    for text in ("{}", '{"mask_token": "sea"}'):
        (path / name).write_text(text)
        keys.add(load_encoder(str(folder)).key)
    assert len(keys) == 3


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
