"""The model under training: its scores meanwhile, and the spec that opens it afterwards."""

from types import SimpleNamespace

import pytest
import torch

from rerank_plugins import InputError
from rerank_plugins.calls import ScorePair
from rerank_plugins.strategies import PairScore
from rerank_plugins.training import TrainingOptions
from rerank_plugins.training._batches import Collator
from rerank_plugins.training._encoding import Row
from rerank_plugins.training._model import PairScores, base_shape, load_trainee, saved_backend


class Lengths(torch.nn.Module):
    """Scores a pair by the number of its tokens."""

    device = "cpu"

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, input_ids, attention_mask):
        assert not self.training
        self.sizes.append(len(input_ids))
        return SimpleNamespace(logits=attention_mask.sum(1, keepdim=True).float())


@pytest.mark.parametrize("training", [True, False])
def test_pairs_are_scored_in_batches_and_training_goes_on(training):
    model = Lengths().train(training)
    encode = SimpleNamespace(pair=lambda call: Row(tuple(range(len(call.passage)))))
    backend = PairScores(model, encode, Collator(0, classifier=True), batch_size=2)
    found = backend.run([ScorePair("q", "x" * n) for n in (3, 1, 5)])
    assert [reply.answer for reply in found] == [3.0, 1.0, 5.0]
    assert model.sizes == [2, 1]
    assert model.training is training


class Saving:
    """A model that notes where it is saved."""

    config = SimpleNamespace(model_type="bert", hidden_size=8, vocab_size=9)

    def __init__(self, saved, name="model"):
        self.saved, self.name = saved, name

    def save_pretrained(self, folder):
        self.saved.append((self.name, folder))


class Adapter(Saving):
    """A PEFT model around another."""

    peft_config = ()

    def merge_and_unload(self):
        return Saving(self.saved, "merged")


@pytest.mark.parametrize(
    ("kind", "model", "written", "spec"),
    [
        ("listwise", Saving, ["model", "tokenizer"], {"name": "transformers", "model": "."}),
        (
            "listwise",
            Adapter,
            ["model"],
            {"name": "transformers", "model": "a-hub-id", "adapter": "."},
        ),
        (
            "classifier",
            Adapter,
            ["merged", "tokenizer"],
            {"name": "cross-encoder", "model": ".", "max_tokens": 64},
        ),
    ],
)
def test_adapters_are_saved_alone_and_classifiers_whole(kind, model, written, spec, tmp_path):
    saved = []
    trainee = SimpleNamespace(
        model=model(saved),
        tokenizer=Saving(saved, "tokenizer"),
        kind=kind,
        encode=SimpleNamespace(context_tokens=64),
        base="a-hub-id",
    )
    assert saved_backend(trainee, tmp_path, None) == spec
    assert saved == [(name, tmp_path) for name in written]
    limited = saved_backend(trainee, tmp_path, 32)
    assert limited.get("context_tokens") == (None if kind == "classifier" else 32)


def test_a_base_is_known_by_its_shape():
    assert base_shape(Saving([])) == {
        "model_type": "bert",
        "hidden_size": 8,
        "num_hidden_layers": None,
        "vocab_size": 9,
    }


def test_a_gguf_file_cannot_become_a_cross_encoder():
    with pytest.raises(InputError, match="a GGUF file is a language model"):
        load_trainee("model.gguf", PairScore(), "classifier", TrainingOptions(), write=False)
