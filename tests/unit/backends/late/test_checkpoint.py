"""Facts that encoders state about themselves, and models that are no encoders."""

import pytest

from rerank_plugins import ModelLoadError
from rerank_plugins._shipped import weights_of
from rerank_plugins.backends._late.checkpoint import Published, published, trained_weights

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def read(**files):
    named = {name.replace("__", "/"): value for name, value in files.items()}
    return lambda name: named.get(name.removesuffix(".json"), {})


def test_an_encoder_of_sentence_transformers():
    found = published(
        "m",
        read(
            config={"architectures": ["BertModel"]},
            sentence_bert_config={"max_seq_length": 256},
            config_sentence_transformers={"prompts": {"query": "q: ", "passage": "p: "}},
            modules=MODULES,
            **{"1_Pooling__config": {"pooling_mode_mean_tokens": True, "embedding_dimension": 3}},
        ),
    )
    assert found == Published(False, 256, "mean", "q: ", "p: ")


@pytest.mark.parametrize(
    ("modules", "stated", "pooling"),
    [
        (MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        (MODULES[:2], {"pooling_mode": "mean"}, "mean"),
        (MODULES, {"pooling_mode": "cls"}, "first"),
        (MODULES, {"pooling_mode": "lasttoken"}, None),
        (MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, None),
        ([*MODULES[:2], {"path": "2", "type": "a.Dense"}], {"pooling_mode": "mean"}, None),
        ([], {"pooling_mode": "mean"}, None),
        ({}, {}, None),
    ],
)
def test_pooling(modules, stated, pooling):
    files = {"modules": modules, "1_Pooling__config": stated}
    assert published("m", read(**files)).pooling == pooling


@pytest.mark.parametrize(
    "files",
    [
        {"config_sentence_transformers": {"model_type": "ColBERT"}},
        {"config_sentence_transformers": {"model_type": "MultiVectorEncoder"}},
        {"config": {"architectures": ["HF_ColBERT"]}},
    ],
)
def test_checkpoints_for_late_interaction(files):
    assert published("m", read(**files)).colbert


@pytest.mark.parametrize(
    "architecture",
    ["BertForSequenceClassification", "LlamaForCausalLM", "T5ForConditionalGeneration"],
)
def test_other_models_are_refused(architecture):
    with pytest.raises(ModelLoadError, match=architecture):
        published("m", read(config={"architectures": [architecture]}))
    with pytest.raises(ModelLoadError, match="CrossEncoder"):
        published("m", read(config_sentence_transformers={"model_type": "CrossEncoder"}))


@pytest.mark.parametrize("architectures", [["BertModel"], ["BertForMaskedLM"], [], None])
def test_encoders_that_state_nothing(architectures):
    assert published("m", read(config={"architectures": architectures})) == Published()


def test_torch_loads_what_exported_weights_are_of(tmp_path):
    """So the default works where torch is installed and onnxruntime is not."""
    (tmp_path / "config.json").write_text('{"_name_or_path": "a/checkpoint"}')
    (tmp_path / "model_int8.onnx").touch()
    assert trained_weights(str(tmp_path)) == "a/checkpoint"
    (tmp_path / "model.safetensors").touch()
    assert trained_weights(str(tmp_path)) == str(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for stated in ("{}", "[]"):
        (tmp_path / "config.json").write_text(stated)
        assert trained_weights(str(tmp_path)) == str(tmp_path)
    assert trained_weights("a/hub-id") == "a/hub-id"
    (tmp_path / "model_int8.onnx").unlink()  # now nothing stands for another checkpoint
    with pytest.raises(ModelLoadError, match=r"no weights: .*rerank-plugins export MODEL"):
        trained_weights(str(tmp_path))
    shipped = weights_of("rerank-plugins/minilm-late-interaction")
    assert trained_weights(shipped) == "sentence-transformers/all-MiniLM-L6-v2"
