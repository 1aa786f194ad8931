"""ColBERT checkpoints: markers, masks, skipped words; restated with transformers alone."""

import json
import shutil
import string

import numpy as np
import pytest
import tiny_models

from rerank_plugins import ModelLoadError
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.backends._late.colbert import ColBERTEncoder
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.testing import BackendContract

WORDS = [
    *["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?[]"],
    *["a", "cat", "flea", "life", "of", "sea", "very", "good", "unused", "##0", "##1"],
]
PAD, QUERY, PASSAGE, CLS, SEP, MASK = (
    WORDS.index(w) for w in ("[PAD]", "[unused0]", "[unused1]", "[CLS]", "[SEP]", "[MASK]")
)
QUERY_TOKENS, PASSAGE_TOKENS, DIM = 8, 14, 6


@pytest.fixture(scope="session", params=[False, True], ids=["masks-unseen", "masks-seen"])
def attend(request):
    """Whether the model's attention reads the masks that expand a query."""
    return request.param


@pytest.fixture(scope="session")
def folder(tmp_path_factory, attend):
    """A checkpoint in the form of ColBERT's authors, of random weights."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("colbert")
    tiny_models.bert(WORDS, folder, "BertModel", initializer_range=0.6)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {f"bert.{n}": t for n, t in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(1)
    tensors["linear.weight"] = torch.randn(DIM, 16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    metadata = {
        "query_maxlen": QUERY_TOKENS,
        "doc_maxlen": PASSAGE_TOKENS,
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "attend_to_mask_tokens": attend,
        "mask_punctuation": True,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def backend(folder):
    return LateInteractionBackend(folder, cache_precision="float32")


@pytest.fixture(scope="session")
def rows(folder):
    """The projected, normalised rows of token ids, by transformers alone."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    tensors = load_file(folder / "model.safetensors")
    model = BertModel(BertConfig.from_pretrained(folder)).eval()
    model.load_state_dict({n[5:]: t for n, t in tensors.items() if n.startswith("bert.")})

    def of(ids, seen=None):
        mask = torch.tensor([[1] * len(ids) if seen is None else seen])
        with torch.inference_mode():
            states = model(torch.tensor([ids]), attention_mask=mask).last_hidden_state[0]
            found = (states @ tensors["linear.weight"].T).numpy()
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return of


def ids(text):
    return [WORDS.index(w) for w in text.split()]


def query_rows(rows, text, attend):
    known = [CLS, QUERY, *ids(text), SEP]
    masks = QUERY_TOKENS - len(known)
    seen = [1] * len(known) + [int(attend)] * masks
    return rows([*known, *[MASK] * masks], seen)


def passage_rows(rows, text):
    whole = [CLS, PASSAGE, *ids(text), SEP]
    skipped = {WORDS.index(c) for c in string.punctuation if c in WORDS}
    return rows(whole)[[i for i, token in enumerate(whole) if token not in skipped]]


class TestColBERT(BackendContract):
    @pytest.fixture
    def backend(self, folder):
        return LateInteractionBackend(folder)


@pytest.mark.parametrize("passage", ["a cat", "flea . sea , good !", "very good"])
def test_scores_are_those_of_the_published_recipe(backend, folder, rows, attend, passage):
    query = query_rows(rows, "life of flea", attend)
    best = (query @ passage_rows(rows, passage).T).max(axis=1)
    call = ScorePair("life of flea", passage)
    [reply] = backend.run([call])
    assert reply.answer == pytest.approx(best.mean(), abs=1e-5)
    summed = LateInteractionBackend(folder, cache_precision="float32", total="sum")
    assert summed.run([call])[0].answer == pytest.approx(best.sum(), abs=1e-4)


def test_tokens_and_cut_queries(backend):
    short, long = backend.run(
        [ScorePair("flea", "a cat"), ScorePair("a very good cat of sea", "a cat")]
    )
    assert short.prompt_tokens == QUERY_TOKENS + 5
    assert (short.truncated, long.truncated) == ((), (0,))


def test_a_long_passage_is_read_in_parts(folder, rows, attend):
    backend = LateInteractionBackend(folder, cache_precision="float32", max_tokens=16)
    words = ["cat", "sea"] * 8
    whole, cut = backend.run(
        [ScorePair("flea", " ".join(words)), ScorePair("flea", " ".join([*words, "flea"]))]
    )
    assert (whole.truncated, cut.truncated, cut.answer) == ((), (0,), whole.answer)
    part = passage_rows(rows, " ".join(words[:8]))
    best = (query_rows(rows, "flea", attend) @ part.T).max(axis=1)
    assert whole.answer == pytest.approx(best.mean(), abs=1e-5)


@pytest.mark.parametrize(
    "hostile", ["[unused0] cat", "[unused1]", "a [MASK] [MASK]", "[SEP] [CLS]", "[PAD]"]
)
def test_no_marker_comes_from_a_text(backend, hostile, monkeypatch):
    backend.warm_up()
    model = backend._loaded._encoder._model
    read, own = [], model.preprocess

    def preprocess(*arguments, **options):
        found = own(*arguments, **options)
        read.extend(found["input_ids"].tolist())
        return found

    monkeypatch.setattr(model, "preprocess", preprocess)
    [reply] = backend.run([ScorePair(hostile, hostile)])
    assert isinstance(reply, Reply)
    query, passage = read
    assert query[:2] == [CLS, QUERY]
    assert passage[:2] == [CLS, PASSAGE]
    inner = [t for t in query[2:] if t != MASK][:-1], passage[2:-1]
    control = {QUERY, PASSAGE, CLS, SEP, PAD, MASK}
    for own_tokens in inner:
        assert not control.intersection(own_tokens)


def test_a_passage_of_skipped_words_has_a_score(backend):
    [reply] = backend.run([ScorePair("flea", ". , !")])
    assert -1 <= reply.answer <= 1


def test_a_loaded_model_is_taken(folder, backend):
    from sentence_transformers import MultiVectorEncoder

    given = LateInteractionBackend(MultiVectorEncoder(str(folder), device="cpu"))
    call = ScorePair("flea", "a cat")
    expected = backend.run([call])[0].answer
    assert given.run([call])[0].answer == pytest.approx(expected, abs=1e-2)
    assert given._loaded._encoder.key == backend._loaded._encoder.key


def test_the_key_is_that_of_the_configuration_too(folder, backend, tmp_path):
    shutil.copytree(folder, tmp_path / "twin")
    path = tmp_path / "twin" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "relu"}))
    other = LateInteractionBackend(path.parent)
    for one in (other, backend):
        one.warm_up()
    assert other._loaded._encoder.key != backend._loaded._encoder.key


def test_other_objects_and_pooled_vectors_are_refused(folder):
    with pytest.raises(ModelLoadError, match="is not a MultiVectorEncoder"):
        LateInteractionBackend(object()).warm_up()
    with pytest.raises(ModelLoadError, match="pooled vectors mean nothing"):
        LateInteractionBackend(folder, vectors="pooled").warm_up()


def test_a_slow_tokenizer_is_refused(folder):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")

    class Slow:
        is_fast = False
        chat_template = None

    class Model:
        tokenizer = Slow()

    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        ColBERTEncoder(Model(), max_tokens=512, part_tokens=None)
    assert model.tokenizer.is_fast
