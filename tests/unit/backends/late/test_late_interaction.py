"""Scores by late interaction: their definition, parts and cuts, costs, files, and bad input."""

import copy
import json
import multiprocessing
import pickle
import shutil
import threading

import numpy as np
import pytest
import tiny_exports
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import ConfigurationError, InputError, ModelLoadError, Reranker
from rerank_plugins.backends import LateInteractionBackend, TokenVectors
from rerank_plugins.backends._late import late_interaction
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.errors import BackendError, ModelOutputError
from rerank_plugins.handlers import sync_handler
from rerank_plugins.registry import from_spec, to_spec
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import BackendContract

WORDS = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "very", "good", "cat", "flea", "life"],
    *["of", "sea", "[", "]", "sep", "cls", "mask", "x", "y", "z", "q", ":"],
]
PASSAGES = ["a cat", "a flea", "flea life of a very good cat", "sea"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A BERT of a few thousand random weights that was not trained for pairs."""
    folder = tmp_path_factory.mktemp("encoder")
    tiny_models.bert(WORDS, folder, "BertModel", initializer_range=0.6)
    (folder / "modules.json").write_text(
        '[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},'
        ' {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    return folder


@pytest.fixture
def backend(folder):
    return LateInteractionBackend(folder)


@pytest.fixture(scope="session")
def states(folder):
    """The hidden states of a text, by transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def of(text):
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()

    return of


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def scores(backend, passages=PASSAGES, query="life of flea"):
    return [reply.answer for reply in backend.run([ScorePair(query, p) for p in passages])]


def tokens_read(backend, passages, query="life of flea"):
    return [reply.prompt_tokens for reply in backend.run([ScorePair(query, p) for p in passages])]


class TestLateInteraction(BackendContract):
    @pytest.fixture
    def backend(self, folder):
        return LateInteractionBackend(folder)


class TestPooled(BackendContract):
    @pytest.fixture
    def backend(self, folder):
        return LateInteractionBackend(folder, vectors="pooled")


def test_scores_are_those_of_the_definition(folder, states):
    query = unit(states("life of flea"))
    for total, norm in (("mean", len(query)), ("sum", 1)):
        backend = LateInteractionBackend(folder, cache_precision="float32", total=total)
        for passage, found in zip(PASSAGES, scores(backend), strict=True):
            rows = unit(states(passage))[1:-1]
            best = [max(float(q @ p) for p in rows) for q in query]
            assert found == pytest.approx(sum(best) / norm, abs=1e-5)


def test_eight_bits_move_scores_little(folder, states):
    exact = scores(LateInteractionBackend(folder, cache_precision="float32"))
    assert scores(LateInteractionBackend(folder)) == pytest.approx(exact, abs=5e-3)
    half = LateInteractionBackend(folder, cache_precision="float16")
    assert scores(half) == pytest.approx(exact, abs=5e-4)


def test_pooled_scores_are_cosines_of_means(folder, states):
    backend = LateInteractionBackend(folder, vectors="pooled")
    query = unit(states("life of flea").mean(axis=0))
    expected = [float(query @ unit(states(p).mean(axis=0))) for p in PASSAGES]
    assert scores(backend) == pytest.approx(expected, abs=1e-5)
    assert backend.embed(["life of flea"], "query") == pytest.approx(query[None], abs=1e-5)
    assert backend.embed([]).shape == (0, 16)


def test_the_kind_of_the_scores_is_similarity(backend):
    ranking = Reranker(PairScore(), backend).rank("life of flea", PASSAGES)
    assert ranking.score_kind == "similarity"
    assert all(-1 <= score <= 1 for score in ranking.scores)


@pytest.mark.parametrize("vectors", ["tokens", "pooled"])
def test_blank_passages_come_last(folder, vectors):
    """The encoder gives vectors to nothing, too, which may be nearer than those of a text."""
    backend = LateInteractionBackend(folder, vectors=vectors)
    passages = ["", *PASSAGES, " \n", "\u200b", "."]
    for query in ("sea", "a", "life of flea"):
        ranking = Reranker(PairScore(), backend).rank(query, passages)
        assert set(ranking.order[-3:]) == {0, 5, 6}
        assert ranking.scores[-3:] == (-1.0,) * 3
    assert tokens_read(backend, ["", " "], "flea") == [3, 0]  # the query's


def test_the_lowest_sum_is_minus_the_tokens_of_the_query(folder):
    backend = LateInteractionBackend(folder, total="sum")
    assert scores(backend, [""], "life of flea") == [-5.0]


def test_long_passages_are_read_in_parts_and_the_cut_is_said_once(folder, states, caplog):
    backend = LateInteractionBackend(folder, cache_precision="float32", max_tokens=20)
    long = " ".join(["cat", "sea"] * 10)
    whole, cut = backend.run([ScorePair("flea", long), ScorePair("flea", f"{long} flea")])
    assert (whole.truncated, cut.truncated) == ((), (0,))
    assert cut.answer == whole.answer
    parts = [unit(states(" ".join(["cat", "sea"] * 5)))[1:-1]] * 2  # 16 tokens would hold 14 words
    rows, query = np.concatenate(parts), unit(states("flea"))
    assert whole.answer == pytest.approx((query @ rows.T).max(axis=1).mean(), abs=1e-5)
    backend.run([ScorePair("flea", f"{long} flea")])
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_prefixes_are_read(folder):
    plain = LateInteractionBackend(folder, cache_precision="float32")
    [expected] = scores(plain, ["y : cat"], "x : flea")
    prefixed = LateInteractionBackend(
        folder, cache_precision="float32", query_prefix="x : ", passage_prefix="y : "
    )
    assert scores(prefixed, ["cat"], "flea") == [expected]


def test_tokens_are_those_that_were_read(backend):
    assert tokens_read(backend, ["a cat", "sea"]) == [5 + 4, 3]
    assert tokens_read(backend, ["a cat", "flea"]) == [5, 3]
    assert tokens_read(backend, ["a cat"], "flea") == [3]


@pytest.mark.parametrize("hostile", ["[SEP]", "a [CLS] cat", "[MASK]", "[PAD] [PAD]", "[ SEP ]"])
def test_no_control_token_comes_from_a_text(backend, hostile):
    backend.warm_up()
    hidden = backend._loaded._encoder._hidden
    control = {WORDS.index(w) for w in WORDS if w.startswith("[") and len(w) > 1}
    assert not control.difference({1}).intersection(hidden.ids(hostile))
    [reply] = backend.run([ScorePair(hostile, hostile)])
    assert isinstance(reply, Reply)


PIECES = ["[SEP]", "[CLS]", "[MASK]", "[PAD]", "[", "]", "SEP", "sep", "##", " ", "a", "\u0130"]


@pytest.fixture(scope="session")
def read_by(folder, exported):
    """The tokens that each engine reads of a text, and its control tokens."""
    found = []
    for source, words in ((folder, WORDS), (exported[0], tiny_exports.WORDS)):
        backend = LateInteractionBackend(source)
        backend.warm_up()
        control = {words.index(w) for w in PIECES[:4] if w in words}
        found.append((backend._loaded._encoder._hidden.ids, control))
    return found


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_attacks_give_no_control_token(read_by, text):
    for read, control in read_by:
        assert not control.intersection(read(text))


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "é" * 3000, "cat " * 4000])
def test_any_text_gets_a_score(backend, text):
    for call in (ScorePair(text, "a cat"), ScorePair("flea", text)):
        [reply] = backend.run([call])
        assert -1.001 <= reply.answer <= 1.001


def test_a_passage_larger_than_the_cache_is_read_from_the_folder(folder, backend, tmp_path):
    small = LateInteractionBackend(folder, cache_bytes=0, cache_folder=tmp_path / "cache")
    assert scores(small) == scores(backend)
    [path] = (tmp_path / "cache").iterdir()
    size = path.stat().st_size
    assert tokens_read(small, PASSAGES) == [5, 0, 0, 0]
    assert scores(small) == scores(backend)
    assert path.stat().st_size == size


def test_a_passage_larger_than_the_cache_is_encoded_each_time(folder, backend):
    small = LateInteractionBackend(folder, cache_bytes=500)
    assert scores(small) == scores(backend)
    assert scores(small) == scores(backend)
    assert tokens_read(small, PASSAGES[:1])[0] == 5 + 4
    assert small._loaded.cache.nbytes == 0


def test_a_cancelled_batch_stops(folder):
    backend = LateInteractionBackend(folder, batch_size=1)
    backend.warm_up()
    encoder, gate = backend._loaded._encoder, threading.Event()
    encode, seen = encoder.encode, []

    def slow(texts, role):
        seen.extend(texts)
        if role == "passage":
            gate.wait(5)
        return encode(texts, role)

    encoder.encode = slow
    replies = sync_handler(backend, timeout_s=0.2)([ScorePair("flea", p) for p in PASSAGES])
    assert all(type(r).__name__ == "BudgetError" for r in replies)
    gate.set()
    with backend._turn:  # the batch that was given up has ended
        pass
    assert len(seen) < 1 + len(PASSAGES)


def test_vectors_that_are_not_finite_are_the_models_error(backend, monkeypatch):
    backend.warm_up()
    hidden = backend._loaded._encoder._hidden
    own = hidden.states
    monkeypatch.setattr(hidden, "states", lambda rows: [x * np.nan for x in own(rows)])
    [reply] = backend.run([ScorePair("flea", "cat")])
    assert isinstance(reply, ModelOutputError)


def test_one_text_that_fails_costs_its_call_alone(backend, monkeypatch):
    backend.warm_up()
    hidden = backend._loaded._encoder._hidden
    own = hidden.ids

    def ids(text):
        if "sea" in text:
            raise BackendError("cannot be read")
        return own(text)

    monkeypatch.setattr(hidden, "ids", ids)
    replies = backend.run([ScorePair("flea", p) for p in ("cat", "sea", "flea")])
    assert [isinstance(r, Reply) for r in replies] == [True, False, True]


def test_copies_and_specs_hold_the_arguments(folder, backend):
    expected = scores(backend)
    for twin in (copy.copy(backend), pickle.loads(pickle.dumps(backend))):
        assert twin._loaded is None
        assert scores(twin) == expected
    spec = to_spec("backends", backend)
    assert spec["name"] == "late-interaction"
    assert scores(from_spec("backends", spec)) == expected


def _score_in_child(backend, answers):
    answers.put(scores(backend))


def test_a_forked_process_scores(folder, tmp_path):
    backend = LateInteractionBackend(folder, cache_folder=tmp_path / "cache")
    expected = scores(backend, PASSAGES[:2])
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_score_in_child, args=(backend, answers))
    child.start()
    assert answers.get(timeout=60)[:2] == expected
    child.join(60)
    assert child.exitcode == 0
    assert len(list((tmp_path / "cache").glob("*.vectors"))) == 2


# Files


def test_a_folder_keeps_vectors_for_the_next_process(folder, tmp_path):
    first = LateInteractionBackend(folder, cache_folder=tmp_path / "cache")
    expected = scores(first)
    again = LateInteractionBackend(folder, cache_folder=tmp_path / "cache")
    assert scores(again) == expected
    assert tokens_read(again, PASSAGES) == [5, 0, 0, 0]


def test_prepared_passages_are_not_encoded_again(folder, tmp_path):
    backend = LateInteractionBackend(folder)
    expected = scores(LateInteractionBackend(folder))
    prepared = backend.prepare([*PASSAGES, *PASSAGES], tmp_path / "prepared.vectors")
    assert len(prepared) == len(PASSAGES)
    assert PASSAGES[0] in prepared
    assert "another" not in prepared
    assert tokens_read(backend, PASSAGES) == [5, 0, 0, 0]
    for source in (
        tmp_path / "prepared.vectors",
        str(tmp_path / "prepared.vectors"),
        prepared,
        LateInteractionBackend(folder).prepare(PASSAGES),
        pickle.loads(pickle.dumps(prepared)),
        pickle.loads(pickle.dumps(LateInteractionBackend(folder).prepare(PASSAGES))),
    ):
        other = LateInteractionBackend(folder, prepared=source, cache_bytes=0)
        assert tokens_read(other, PASSAGES) == [5, 0, 0, 0]
        assert scores(other) == expected


@pytest.mark.parametrize(
    "other", [{"max_tokens": 9}, {"passage_prefix": "x"}, {"vectors": "pooled"}, {"part_tokens": 9}]
)
def test_vectors_of_another_recipe_are_refused(folder, tmp_path, other):
    prepared = LateInteractionBackend(folder).prepare(PASSAGES)
    scores(LateInteractionBackend(folder, cache_folder=tmp_path / "cache"))
    for source in ({"prepared": prepared}, {"cache_folder": tmp_path / "cache"}):
        backend = LateInteractionBackend(folder, **source, **other)
        with pytest.raises(InputError, match="another model, or were read another way"):
            backend.run([ScorePair("flea", "cat")])


def test_prepared_vectors_of_another_precision_are_refused(folder, tmp_path):
    path = tmp_path / "p.vectors"
    prepared = LateInteractionBackend(folder).prepare(PASSAGES, path)
    for source in (path, prepared):
        other = LateInteractionBackend(folder, prepared=source, cache_precision="float32")
        with pytest.raises(InputError, match=r"is 'float32', and the .*p\.vectors' are 'int8'"):
            other.warm_up()
        same = LateInteractionBackend(folder, prepared=source, cache_precision="int8")
        assert tokens_read(same, PASSAGES) == [5, 0, 0, 0]
    exact = LateInteractionBackend(folder, cache_precision="float32")
    auto = LateInteractionBackend(folder, prepared=exact.prepare(PASSAGES), cache_bytes=0)
    assert scores(auto) == scores(exact)


def test_a_folder_of_another_precision_changes_no_score(folder, tmp_path):
    scores(LateInteractionBackend(folder, cache_folder=tmp_path))
    for tokens in ([5 + 4, 4, 9, 3], [5, 0, 0, 0]):
        asked = {"cache_folder": tmp_path, "cache_precision": "float32"}
        assert tokens_read(LateInteractionBackend(folder, **asked), PASSAGES) == tokens
        exact = LateInteractionBackend(folder, cache_precision="float32")
        assert scores(LateInteractionBackend(folder, **asked)) == scores(exact)


def test_the_home_folder_is_written_as_a_tilde(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    expected = scores(LateInteractionBackend(folder, cache_folder="~/cache"))
    [path] = (tmp_path / "home" / "cache").iterdir()
    other = LateInteractionBackend(folder, prepared=f"~/cache/{path.name}")
    assert tokens_read(other, PASSAGES) == [5, 0, 0, 0]
    assert scores(other) == expected
    assert not (tmp_path / "~").exists()
    for name in ("cache_folder", "prepared"):
        nobody = LateInteractionBackend(folder, **{name: "~nobody-of-that-name/x"})
        with pytest.raises(InputError, match=f"{name} is '~nobody-of-that-name/x'"):
            nobody.warm_up()


def test_vectors_of_another_model_are_refused(folder, tmp_path):
    tiny_models.bert(WORDS, tmp_path, "BertModel", initializer_range=0.5)
    prepared = LateInteractionBackend(folder).prepare(PASSAGES, tmp_path / "p.vectors")
    other = LateInteractionBackend(tmp_path, prepared=prepared, part_tokens=16)
    with pytest.raises(InputError, match="another model"):
        other.warm_up()


def test_a_full_disk_costs_the_cache_and_not_the_scores(folder, tmp_path, caplog, monkeypatch):
    from rerank_plugins.backends._late import cache

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "append", full)
    backend = LateInteractionBackend(folder, cache_folder=tmp_path / "cache")
    assert scores(backend) == scores(LateInteractionBackend(folder))
    assert sum("No space left" in r.message for r in caplog.records) == 1


# Without torch


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A folder with exported weights, and one with the same weights for torch."""
    folder = tmp_path_factory.mktemp("exported")
    return folder, tiny_exports.bert(folder, "BertModel")


class TestExported(BackendContract):
    @pytest.fixture
    def backend(self, exported):
        return LateInteractionBackend(exported[0], engine="onnx")


def test_both_engines_give_the_same_scores(exported):
    folder, source = exported
    fast = LateInteractionBackend(folder, cache_precision="float32", threads=1)
    slow = LateInteractionBackend(source, engine="torch", cache_precision="float32")
    assert scores(fast) == pytest.approx(scores(slow), abs=1e-4)
    assert type(fast._loaded._encoder._hidden).__name__ == "OnnxEncoder"
    assert type(slow._loaded._encoder._hidden).__name__ == "TorchEncoder"
    assert fast._loaded._encoder.key != slow._loaded._encoder.key


def test_a_folder_without_exported_weights_names_the_command(folder, monkeypatch):
    with pytest.raises(ModelLoadError, match="rerank-plugins export"):
        LateInteractionBackend(folder, engine="onnx").warm_up()
    automatic = LateInteractionBackend(folder)
    automatic.warm_up()
    assert type(automatic._loaded._encoder._hidden).__name__ == "TorchEncoder"
    monkeypatch.setattr(late_interaction, "find_spec", lambda _: None)  # as without torch
    with pytest.raises(ModelLoadError, match="rerank-plugins export"):
        LateInteractionBackend(folder).warm_up()


def test_exported_weights_run_on_few_devices(exported):
    with pytest.raises(InputError, match="device is 'mps'"):
        LateInteractionBackend(exported[0], engine="onnx", device="mps").warm_up()


def test_a_wrong_device_is_told_before_a_hub_is_asked(exported, monkeypatch):
    """Exported weights alone stand for a checkpoint on the hub, which torch would load."""
    monkeypatch.setattr(late_interaction, "hub_reader", None)
    monkeypatch.setattr(late_interaction, "trained_weights", lambda _: "a/hub-id")
    with pytest.raises(ConfigurationError, match="there is no device 'foo'"):
        LateInteractionBackend(exported[0], device="foo").warm_up()


def test_arguments_that_the_engine_would_ignore_are_refused(exported, folder):
    with pytest.raises(ConfigurationError, match="dtype is 'float16', and exported"):
        LateInteractionBackend(exported[0], dtype="float16").warm_up()
    with pytest.raises(ConfigurationError, match="precision is 'fp32', and torch"):
        LateInteractionBackend(folder, engine="torch", precision="fp32").warm_up()
    with pytest.raises(ModelLoadError, match="rerank-plugins export"):
        LateInteractionBackend(folder, precision="int8").warm_up()


def test_a_tokenizer_of_another_model_is_refused(folder, exported, tmp_path):
    for source, weights in ((folder, "*.safetensors"), (exported[0], "*.onnx")):
        copied = tmp_path / weights[2:]
        shutil.copytree(source, copied)
        assert any(copied.glob(weights))
        config = json.loads((copied / "config.json").read_text())
        known = config["vocab_size"]
        file = json.loads((copied / "tokenizer.json").read_text())
        file["model"]["vocab"]["newest"] = known
        (copied / "tokenizer.json").write_text(json.dumps(file))
        with pytest.raises(ModelLoadError, match=f"has {known + 1} tokens, and the model knows"):
            LateInteractionBackend(copied).warm_up()


def test_an_exported_classifier_is_refused(tmp_path):
    tiny_exports.bert(tmp_path)
    with pytest.raises(ModelLoadError, match="BertForSequenceClassification, and not an encoder"):
        LateInteractionBackend(tmp_path, engine="onnx").warm_up()


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": "words"}, "vectors is 'words'"),
        ({"total": "max"}, "total is 'max'"),
        ({"cache_precision": "int4"}, "cache_precision is 'int4'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"part_tokens": 3}, "part_tokens is 3"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
        ({"prepared": 3}, "prepared is 3, expected a file, TokenVectors or None"),
        ({"prepared": ["x"]}, r"prepared is \['x'\], expected a file, TokenVectors or None"),
        ({"cache_folder": 3}, "cache_folder is 3, expected a folder or None"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LateInteractionBackend("model", **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([None], r"\[0\] is of type NoneType, expected str"),
        (["a cat", 3], r"\[1\] is of type int, expected str"),
        ("abc", "is of type str, expected a list"),
        (None, "is of type NoneType, expected a list"),
    ],
)
def test_what_is_not_a_list_of_texts_is_refused(texts, message):
    tokens, pooled = (LateInteractionBackend("model", vectors=v) for v in ("tokens", "pooled"))
    for use in (tokens.prepare, pooled.embed, Reranker(PairScore(), tokens).prepare):
        with pytest.raises(InputError, match=message):
            use(texts)


def test_a_model_must_be_given():
    with pytest.raises(InputError, match="model is None"):
        LateInteractionBackend(None)


def test_parts_longer_than_the_model_reads_are_refused(folder):
    with pytest.raises(InputError, match="part_tokens is 65, and the model reads 64"):
        LateInteractionBackend(folder, part_tokens=65).warm_up()


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_a_classifier_is_refused(tmp_path, kind):
    tiny_models.bert(WORDS, tmp_path, kind)
    with pytest.raises(ModelLoadError, match=f"is a {kind}, and not an encoder"):
        LateInteractionBackend(tmp_path).warm_up()


def test_a_language_model_is_refused(tmp_path):
    tiny_models.llama(20).save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="is a LlamaForCausalLM, and not an encoder"):
        LateInteractionBackend(tmp_path).warm_up()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match=r"has no weights|no exported weights"):
        LateInteractionBackend(tmp_path).warm_up()


def test_pooled_vectors_of_an_encoder_that_does_not_say_how_are_refused(tmp_path):
    tiny_models.bert(WORDS, tmp_path, "BertModel")
    with pytest.raises(ModelLoadError, match="means or first tokens"):
        LateInteractionBackend(tmp_path, vectors="pooled").warm_up()


def test_vectors_for_an_index_are_pooled_ones(backend):
    with pytest.raises(InputError, match="vectors='pooled'"):
        backend.embed(["a"])


def test_a_damaged_file_is_refused(folder, tmp_path):
    path = tmp_path / "p.vectors"
    LateInteractionBackend(folder).prepare(PASSAGES, path)
    data = bytearray(path.read_bytes())
    data[-64] ^= 1
    path.write_bytes(data)
    backend = LateInteractionBackend(folder, prepared=TokenVectors.load(path))
    with pytest.raises(InputError, match="a checksum does not agree"):
        backend.run([ScorePair("flea", p) for p in PASSAGES])


def test_one_encoder_retrieves_reranks_and_teaches(folder, tmp_path):
    pytest.importorskip("faiss")
    from rerank_plugins.feedback import FaissIndex, FeedbackSearch

    words = ["cat", "flea", "sea", "life", "very", "good"]
    texts = [f"{a} {b} {c}" for a in words for b in words for c in words]
    pooled = LateInteractionBackend(folder, vectors="pooled")
    tokens = Reranker(PairScore(), LateInteractionBackend(folder)).prepare(texts)
    built = FaissIndex.build(
        pooled.embed(texts), ids=map(str, range(216)), texts=texts, tokens=tokens
    )
    built.save(tmp_path / "index")
    index = FaissIndex.load(tmp_path / "index")
    backend = LateInteractionBackend(folder, prepared=index.tokens)
    searcher = FeedbackSearch(index, Reranker(PairScore(), backend), k=30, method="bold")
    query = "life of flea"
    found = searcher.search(query, pooled.embed([query], "query")[0])
    assert found.score_kind == "similarity"
    assert found.usage.searches == 2
    assert found.usage.prompt_tokens in (5, 10)  # the query's, once or twice; no passage's
    best = [texts[int(key)] for key in found.reranked[:2]]
    assert scores(backend, best) == sorted(scores(backend, best), reverse=True)
