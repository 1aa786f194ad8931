"""Positions and labels by the configuration alone: as the loaded model has them."""

import pytest

from rerank_plugins.backends._local import limits as loaded
from rerank_plugins.backends._onnx.configuration import labels, positions

KINDS = [
    *("albert", "bert", "big_bird", "camembert", "data2vec-text", "deberta", "deberta-v2"),
    *("distilbert", "electra", "esm", "gpt2", "llama", "modernbert", "mpnet", "nomic_bert"),
    *("qwen3", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "embedding_size": 16,
    "head_dim": 8,
    "vocab_size": 60,
    "max_position_embeddings": 66,
    "n_positions": 66,
    "pad_token_id": 1,
}


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_those_of_the_loaded_model(kind):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    if kind not in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        pytest.skip(f"this transformers has no {kind}")
    config = transformers.AutoConfig.for_model(kind, **SMALL)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    assert positions(config.to_dict()) == loaded.positions(model)


def test_positions_that_are_not_stated():
    assert positions({}) == loaded.NO_LIMIT
    assert positions({"model_type": "t5", "n_positions": 512}) == loaded.NO_LIMIT
    assert positions({"max_position_embeddings": "512"}) == loaded.NO_LIMIT
    stated = {"model_type": "deberta-v2", "max_position_embeddings": 512}
    assert positions({**stated, "position_biased_input": False}) == loaded.NO_LIMIT
    assert positions(stated) == 512


def test_the_padding_token_moves_positions():
    roberta = {"model_type": "roberta", "max_position_embeddings": 514}
    assert positions(roberta) == 512
    assert positions({**roberta, "pad_token_id": 0}) == 513
    assert positions({**roberta, "pad_token_id": None}) == 512


def test_labels():
    assert labels({"id2label": {"0": "a", "1": "b"}, "num_labels": 1}) == 2
    assert labels({"num_labels": 3}) == 3
    assert labels({}) is None
