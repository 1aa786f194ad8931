"""Arguments and replies of the cross-encoder backend, and the models that it refuses."""

import json
import math

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError, ModelLoadError, ModelOutputError
from rerank_plugins.backends import CrossEncoderBackend
from rerank_plugins.backends._local.cross_encoder import _Pair
from rerank_plugins.calls import Reply, ScorePair


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine is 'tensorrt'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"query_template": "q"}, r"\{query\} and \{passage\}"),
        ({"passage_template": "{query}"}, r"\{query\} and \{passage\}"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        CrossEncoderBackend("model", **options)


def test_a_model_must_be_given():
    with pytest.raises(InputError, match="model is None"):
        CrossEncoderBackend(None)


def test_a_pair_that_was_cut_says_so():
    assert _Pair("q", "p", 7).reply(0.5) == Reply(0.5, 7)
    assert _Pair("q", "p", 7, cut=True).reply(0.5) == Reply(0.5, 7, 0, (0,))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_is_the_models_error(score):
    assert isinstance(_Pair("q", "p", 7).reply(score), ModelOutputError)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "flea", "sea", "yes", "no", "far"]


CLASSIFIER = "LlamaForSequenceClassification"


def word_tokenizer(folder, pair, **special):
    """A tokenizer of words, saved; ``pair`` is its form of a pair."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", *WORDS[4:]]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="$A", pair=pair, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    found = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="</s>", unk_token="<unk>", **special
    )
    found.save_pretrained(folder)
    return found


def loud(model):
    """The model with weights that are large enough to tell one text from another."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(10)
    return model


@pytest.mark.parametrize("special", [{}, {"pad_token": "</s>"}, {"bos_token": "<s>"}])
@pytest.mark.parametrize("pair", ["<s> $A $B </s>", "$A $B </s>", "$A </s> $B", "<s> $A $B"])
def test_the_score_is_read_at_the_last_token(tmp_path, pair, special):
    """A plain forward pass of the same tokens, alone and where pairs are padded."""
    import torch

    tokenizer = word_tokenizer(tmp_path, pair, **special)
    model = loud(tiny_models.llama(len(tokenizer), CLASSIFIER, pad_token_id=None, num_labels=1))
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    backend = CrossEncoderBackend(tmp_path)
    backend.warm_up()
    loaded = backend._loaded

    def right(query, passage):
        ids = tokenizer(query, passage, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            return float(model.model(ids).last_hidden_state[0, -1] @ model.score.weight[0])

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.lists(st.sampled_from(WORDS[4:]), min_size=1).map(" ".join), min_size=1))
    def check(passages):
        expected = pytest.approx([right("flea", passage) for passage in passages], abs=1e-3)
        replies = backend.run([ScorePair("flea", passage) for passage in passages])
        assert [reply.answer for reply in replies] == expected
        if loaded._batch_size > 1:  # as on an accelerator
            pairs = [("flea", passage) for passage in passages]
            size = {"batch_size": 8, "activation_fn": torch.nn.Identity()}
            found = loaded._model.predict(pairs, show_progress_bar=False, **size)
            assert found.tolist() == expected

    check()


def test_ordinary_words_are_no_padding(tmp_path):
    """Padding is a control token, which is broken up in passages."""
    tokenizer = word_tokenizer(tmp_path, "$A $B </s>")
    model = tiny_models.llama(len(tokenizer), CLASSIFIER, num_labels=1)
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    backend = CrossEncoderBackend(tmp_path)
    backend.warm_up()
    assert backend._loaded._model.tokenizer.pad_token in {"</s>", "<unk>"}


HEADLESS = [
    ("bert", "BertModel"),
    ("bert", "BertForMaskedLM"),
    ("llama", "LlamaModel"),
    ("llama", "LlamaForCausalLM"),
    ("qwen3", "Qwen3ForCausalLM"),
    ("gpt2", "GPT2LMHeadModel"),
    ("t5", "T5ForConditionalGeneration"),
]


@pytest.mark.parametrize("bi_encoder", [False, True])
@pytest.mark.parametrize(("kind", "name"), HEADLESS)
def test_a_checkpoint_without_a_head_for_pairs_is_refused(tmp_path, kind, name, bi_encoder):
    import transformers
    from sentence_transformers import SentenceTransformer

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "num_key_value_heads": 2, "d_model": 16, "d_ff": 32}
    small |= {"decoder_start_token_id": 0, "max_position_embeddings": 64}
    tokenizer = word_tokenizer(tmp_path / "plain", "$A </s> $B </s>", pad_token="<unk>")
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(tokenizer), **small)
    getattr(transformers, name)(config).save_pretrained(tmp_path / "plain")
    folder = tmp_path / "plain"
    if bi_encoder:
        folder = tmp_path / "vectors"
        SentenceTransformer(str(tmp_path / "plain"), device="cpu").save(str(folder))
    with pytest.raises(ModelLoadError, match=r"random numbers|cannot load"):
        CrossEncoderBackend(folder).warm_up()


def test_answers_that_the_vocabulary_lacks_are_refused():
    class Head:
        true_token_id, false_token_id = 2, 2

    class Model(list):
        tokenizer = type("Tokenizer", (), {"unk_token_id": 2})

    with pytest.raises(ModelLoadError, match="lacks the answers"):
        CrossEncoderBackend(Model([object(), Head()])).warm_up()


def test_a_roberta_is_cut_at_its_positions(tmp_path):
    import transformers

    tokenizer = word_tokenizer(tmp_path, "<s> $A </s> $B </s>", pad_token="</s>")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        pad_token_id=1,
        **small,
    )
    transformers.XLMRobertaForSequenceClassification(config).save_pretrained(tmp_path)
    [reply] = CrossEncoderBackend(tmp_path).run([ScorePair("flea", "sea " * 100)])
    assert (reply.truncated, reply.prompt_tokens) == ((0,), 62)
    assert CrossEncoderBackend(tmp_path, max_tokens=62).run([ScorePair("flea", "sea")])
    with pytest.raises(InputError, match="max_tokens is 63, and the model reads 62 tokens"):
        CrossEncoderBackend(tmp_path, max_tokens=63).warm_up()


def test_a_cut_is_logged_once(tmp_path, caplog):
    tiny_models.bert(WORDS, tmp_path, num_labels=1)
    backend = CrossEncoderBackend(tmp_path, max_tokens=10)
    backend.run([ScorePair("flea", "a cat")])
    assert not caplog.records
    for _ in range(2):
        backend.run([ScorePair("flea", "a cat"), ScorePair("flea", "sea " * 20)])
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "texts of 1 of 2 calls were cut" in record.getMessage()


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """It would fail at the texts that have the tokens that the model does not know."""
    tiny_models.bert(WORDS, tmp_path, num_labels=1)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    file["model"]["vocab"]["newest"] = len(WORDS)
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(ModelLoadError, match=f"has {len(WORDS) + 1} tokens, and the model knows"):
        CrossEncoderBackend(tmp_path).warm_up()
