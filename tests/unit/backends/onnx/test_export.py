"""Exported weights compute what torch computes, or are not left behind."""

import json

import pytest
import tiny_exports
import tiny_models

from rerank_plugins import ModelLoadError
from rerank_plugins.backends import CrossEncoderBackend, OnnxCrossEncoderBackend
from rerank_plugins.backends._onnx import export
from rerank_plugins.calls import ScorePair

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("precision", "weights"), [("fp32", "model.onnx"), ("int8", "model_int8.onnx")]
)
def test_what_is_written(source, target, precision, weights):
    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1, initializer_range=0.3)
    kind, distance = export.export_weights(str(source), target, precision)
    assert kind == "cross-encoder"
    assert distance < (1e-3 if precision == "fp32" else 0.25)
    assert {path.name for path in target.iterdir()} == {
        *("config.json", "tokenizer.json", "tokenizer_config.json", weights),
    }
    assert json.loads((target / "tokenizer.json").read_text())["truncation"] is None


def test_large_values_are_spread_in_eight_bits(source, target):
    """A tiny BERT, one column of which is far larger than the others."""
    model, _ = tiny_models.bert(tiny_exports.WORDS, source, num_labels=1, initializer_range=0.3)
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.output.LayerNorm.weight[3] = 60.0
    model.save_pretrained(source)
    _, distance = export.export_weights(str(source), target, "int8")
    assert (
        b"LayerNorm/LayerNormalization_output_0_wide" in (target / "model_int8.onnx").read_bytes()
    )
    assert distance < 0.25


def test_positions_that_begin_after_the_padding(source, target):
    """A RoBERTa computes positions in its graph, from where the padding is."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", *tiny_exports.WORDS[4:]]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(source)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=66,
        num_labels=1,
        pad_token_id=1,
        type_vocab_size=1,
        initializer_range=0.3,
    )
    transformers.RobertaForSequenceClassification(config).eval().save_pretrained(source)
    export.export_weights(str(source), target, "fp32")
    calls = [ScorePair("life of a flea", "flea " * n) for n in (1, 30, 90)]
    backend = OnnxCrossEncoderBackend(target)
    found, right = backend.run(calls), CrossEncoderBackend(source).run(calls)
    assert [r.answer for r in found] == pytest.approx([r.answer for r in right], abs=1e-5)
    assert found[-1].prompt_tokens == 64
    backend._loaded._size = 3  # padded, as on an accelerator
    assert [r.answer for r in backend.run(calls)] == pytest.approx(
        [r.answer for r in right], abs=1e-5
    )


def test_a_decoder_that_classifies(source, target):
    """Its score is read at the last token."""
    import transformers

    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    (source / "model.safetensors").unlink()
    model = tiny_models.llama(
        len(tokenizer), "LlamaForSequenceClassification", num_labels=1, pad_token_id=0
    )
    model.save_pretrained(source)
    export.export_weights(str(source), target, "fp32")
    calls = [ScorePair("life of a flea", "flea " * n) for n in (1, 30)]
    right = [r.answer for r in CrossEncoderBackend(source).run(calls)]
    found = [r.answer for r in OnnxCrossEncoderBackend(target).run(calls)]
    assert found == pytest.approx(right, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("BertForSequenceClassification", {"num_labels": 3}, "3 labels"),
        ("BertLMHeadModel", {"is_decoder": True}, "which writes text"),
    ],
)
def test_what_cannot_be_exported(source, target, kind, options, message):
    tiny_models.bert(tiny_exports.WORDS, source, kind, **options)
    with pytest.raises(ModelLoadError, match=message):
        export.export_weights(str(source), target, "fp32")


def test_missing_weights_are_refused(source, target):
    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelLoadError, match="random numbers"):
        export.export_weights(str(source), target, "fp32")
    (source / "config.json").write_text(
        json.dumps(config | {"num_hidden_layers": 3, "architectures": ["BertModel"]})
    )
    with pytest.raises(ModelLoadError, match="random numbers"):
        export.export_weights(str(source), target, "fp32")


def test_a_folder_without_a_model(source, target):
    with pytest.raises(ModelLoadError, match="cannot load"):
        export.export_weights(str(source), target, "fp32")


def test_pickled_weights_are_refused(source, target):
    model, _ = tiny_models.bert(tiny_exports.WORDS, source, num_labels=1)
    (source / "model.safetensors").unlink()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="cannot load"):
        export.export_weights(str(source), target, "fp32")


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "CrossEncoder"), ("int8", "fp32")])
def test_other_numbers_than_torchs_are_refused(source, target, monkeypatch, precision, advice):
    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1, initializer_range=0.3)
    monkeypatch.setattr(export, "_EXACT", 1e-12)
    monkeypatch.setattr(export, "_ROUNDED", 1e-12)
    with pytest.raises(ModelLoadError, match=f"something else when it is exported.*{advice}"):
        export.export_weights(str(source), target, precision)


def test_what_one_file_cannot_hold_is_refused(source, target, monkeypatch):
    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1)
    monkeypatch.setattr(export, "_LARGEST", 1000)
    with pytest.raises(ModelLoadError, match="more than 2 GiB"):
        export.export_weights(str(source), target, "fp32")
    assert list(target.iterdir()) == []
