"""The contract over a classifier, an encoder-decoder and two backends in one."""

import asyncio
import math

import pytest
import tiny_exports
import tiny_models

from rerank_plugins import InputError, ModelLoadError, ModelOutputError, PromptTooLongError
from rerank_plugins.backends import (
    CrossEncoderBackend,
    OnnxCrossEncoderBackend,
    Routed,
    Seq2SeqBackend,
)
from rerank_plugins.calls import Message, NextToken, Prompt, Reply, ScorePair, Untrusted
from rerank_plugins.errors import LabelError
from rerank_plugins.registry import from_spec
from rerank_plugins.testing import BackendContract, Oracle

WORDS = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "very", "good", "cat", "flea", "life", "of", "sea"],
    *["A", "B", "?", ":", "true", "false", "query", "document", "passage", "relevant", "the", "x"],
]


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    """A BERT of a few thousand random weights that scores pairs, with a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("classifier")
    tiny_models.bert(WORDS, folder, longest=32, num_labels=1, initializer_range=0.6)
    return folder


@pytest.fixture
def classifier(classifier_folder):
    return CrossEncoderBackend(classifier_folder)


@pytest.fixture(scope="session")
def t5():
    """A T5 of a few thousand random weights and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = ["<pad>", "</s>", "<unk>", "Passage", *WORDS[4:]]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(words),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
        initializer_factor=3.0,
    )
    return T5ForConditionalGeneration(config), tokenizer


@pytest.fixture
def seq2seq(t5):
    model, tokenizer = t5
    return Seq2SeqBackend(model, tokenizer=tokenizer)


class TestCrossEncoder(BackendContract):
    @pytest.fixture
    def backend(self, classifier):
        return classifier


class TestOnnxCrossEncoder(BackendContract):
    @pytest.fixture(params=["fp32", "int8"])
    def backend(self, request, tmp_path):
        tiny_exports.bert(tmp_path, precision=request.param)
        return OnnxCrossEncoderBackend(tmp_path)


class TestSeq2Seq(BackendContract):
    @pytest.fixture
    def backend(self, seq2seq):
        return seq2seq

    @pytest.fixture
    def calls(self):
        return [asked(f"flea {'very ' * i}good", ("A", "B")) for i in range(4)]


class TestRouted(BackendContract):
    @pytest.fixture
    def backend(self, classifier):
        return Routed(pairs=classifier, text=Oracle())


def asked(passage, labels, prefill=""):
    return NextToken(Prompt((Message("user", (Untrusted(passage),)),), prefill, chat=False), labels)


def test_scores_are_the_models_raw_logits(classifier, classifier_folder):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder).eval()
    tokens = AutoTokenizer.from_pretrained(classifier_folder)(
        "life of flea", "a very good cat", return_tensors="pt"
    )
    with torch.inference_mode():
        expected = float(model(**tokens).logits[0, 0])
    [reply] = classifier.run([ScorePair("life of flea", "a very good cat")])
    assert reply.answer == pytest.approx(expected, abs=1e-5)
    assert reply.prompt_tokens == tokens["input_ids"].shape[1]


def test_templates_surround_query_and_passage(classifier_folder):
    plain = CrossEncoderBackend(classifier_folder)
    dear = CrossEncoderBackend(
        classifier_folder,
        query_template="query : {query}",
        passage_template="document : {passage}",
    )
    [found] = dear.run([ScorePair("flea", "a {query} cat")])
    [expected] = plain.run([ScorePair("query : flea", "document : a {query} cat")])
    assert found.answer == expected.answer


def test_a_long_pair_is_cut_and_reported(classifier_folder):
    backend = CrossEncoderBackend(classifier_folder, max_tokens=10)
    short, long = backend.run([ScorePair("flea", "a cat"), ScorePair("flea", "good cat " * 20)])
    assert short.truncated == ()
    assert long.truncated == (0,)
    assert long.prompt_tokens == 10


def test_control_tokens_in_a_passage_are_text(classifier):
    honest, hostile = classifier.run(
        [ScorePair("flea", "a cat [ SEP] flea"), ScorePair("flea", "a cat [SEP] flea")]
    )
    assert hostile.answer == honest.answer


def test_a_classifier_of_classes_is_refused(classifier_folder, tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(classifier_folder, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(classifier_folder).save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="3 labels"):
        CrossEncoderBackend(tmp_path).warm_up()


def test_a_missing_model_is_a_load_error(tmp_path):
    with pytest.raises(ModelLoadError, match="cross-encoder"):
        CrossEncoderBackend(tmp_path / "absent").warm_up()


def test_a_score_that_is_no_number_is_the_models_fault(classifier_folder, monkeypatch):
    backend = CrossEncoderBackend(classifier_folder)
    backend.warm_up()
    monkeypatch.setattr(backend._loaded._model, "predict", lambda pairs, **_: [math.nan])
    [reply] = backend.run([ScorePair("a", "b")])
    assert isinstance(reply, ModelOutputError)


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"batch_size": 0}, {"query_template": "q"}, {"passage_template": "p"}],
)
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(InputError):
        CrossEncoderBackend("model", **wrong)


def test_next_token_log_probabilities_are_the_decoders(t5, seq2seq):
    import torch

    model, tokenizer = t5
    [reply] = seq2seq.run([asked("flea life", ("A", "B"), prefill="Passage")])
    ids = tokenizer("flea life", return_tensors="pt")["input_ids"]
    decoder = torch.tensor([[0, tokenizer.convert_tokens_to_ids("Passage")]])
    with torch.inference_mode():
        logits = model.eval()(input_ids=ids, decoder_input_ids=decoder).logits
    expected = logits[0, -1].log_softmax(-1)
    for label in "AB":
        wanted = float(expected[tokenizer.convert_tokens_to_ids(label)])
        assert reply.answer.seen[label] == pytest.approx(wanted, abs=1e-5)


def test_a_label_that_is_not_one_token_is_refused(seq2seq):
    with pytest.raises(LabelError):
        seq2seq.run([asked("flea", ("A B", "B"))])


def test_a_prompt_that_does_not_fit_says_by_how_much(t5):
    model, tokenizer = t5
    backend = Seq2SeqBackend(model, tokenizer=tokenizer, context_tokens=5)
    [reply] = backend.run([asked("flea " * 9, ("A", "B"))])
    assert isinstance(reply, PromptTooLongError)
    assert reply.excess_tokens == 5  # nine words and </s>


def test_a_routed_batch_comes_back_in_order(classifier):
    pairs, text = Oracle(key=lambda q, p: 3.0), Oracle(key=lambda q, p: 0.5)
    calls = [asked("x", ("A", "B")), ScorePair("q", "p"), asked("y", ("A", "B"))]
    routed = Routed(pairs=pairs, text=text)
    for replies in (routed.run(calls), asyncio.run(routed.arun(calls))):
        assert all(isinstance(reply, Reply) for reply in replies)
        assert replies[1].answer == 3.0
        assert set(replies[0].answer.seen) == {"A", "B"}


def test_a_routed_backend_from_a_spec():
    spec = {
        "name": "routed",
        "pairs": {"name": "cross-encoder", "model": "one"},
        "text": {"name": "transformers", "model": "two"},
    }
    built = from_spec("backends", spec)
    assert (built.pairs.model, built.text.model) == ("one", "two")
