"""The Haystack rankers: the framework's own contract list, through real pipelines."""

import asyncio
import copy
import inspect
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from haystack import Document, Pipeline, tracing
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.core.errors import BreakpointException, DeserializationError, PipelineRuntimeError
from haystack.dataclasses.breakpoints import Breakpoint
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker, PluginRanker

from rerank_plugins import (
    BackendError,
    BudgetError,
    ConfigurationError,
    InputError,
    Reranker,
    UnknownNameError,
)
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.presets import list_presets
from rerank_plugins.strategies import Permutation, QueryLikelihood, SingleToken, SlidingWindow
from rerank_plugins.testing import Failing, Oracle, Scripted

FIRST = "haystack_integrations.components.rankers.rerank_plugins.first.FirstRanker"
PLUGIN = "haystack_integrations.components.rankers.rerank_plugins.plugin.PluginRanker"
META = {
    "model",
    "score_kind",
    "usage",
    "fallback",
    "causes",
    "repairs",
    "truncated",
    "irrelevant",
    "duplicates_removed",
    "retriever_scores",
    "skipped",
    "unscored",
    "score_scaled",
    "score_threshold_applied",
    "cut",
}
TOKEN = {"type": "env_var", "env_vars": ["HF_API_TOKEN", "HF_TOKEN"], "strict": False}
MODES = pytest.mark.parametrize("mode", ["sync", "async"])


def docs(*lengths, **kwargs):
    return [Document(content="a" * n, id=str(i), **kwargs) for i, n in enumerate(lengths)]


def ids(result):
    return [d.id for d in result["documents"]]


def run(ranker, documents, mode="sync", **inputs):
    """Through a real pipeline, sync and async."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", copy.copy(ranker))
    data = {"ranker": {"query": "q", "documents": documents, **inputs}}
    if mode == "sync":
        return pipeline.run(data)["ranker"]
    return asyncio.run(pipeline.run_async(data))["ranker"]


# Construction


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_top_k_that_is_not_positive_is_refused_at_both_places(top_k, oracle):
    message = f"top_k must be > 0, but got {top_k}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        FirstRanker(top_k=top_k)
    with pytest.raises(ValueError, match=f"^{message}$"):
        FirstRanker(backend=oracle).run(query="q", documents=[], top_k=top_k)
    with pytest.raises(ValueError, match=f"^{message}$"):
        asyncio.run(FirstRanker(backend=oracle).run_async(query="q", documents=[], top_k=top_k))
    with pytest.raises(PipelineRuntimeError, match=message):
        run(FirstRanker(backend=oracle), docs(1), top_k=top_k)


@pytest.mark.parametrize("top_k", [True, 2.5, "3"])
def test_a_top_k_that_is_no_integer_is_refused(top_k):
    with pytest.raises(ValueError, match="top_k must be an integer"):
        PluginRanker(model="castorini/first_mistral", top_k=top_k)


def test_defaults_and_laziness(monkeypatch):
    monkeypatch.setattr(
        "rerank_plugins.backends._local.transformers.load_language_model",
        lambda *a, **k: pytest.fail("loaded"),
    )
    ranker = FirstRanker("castorini/first_mistral")
    assert (ranker.model, ranker.top_k, ranker.raise_on_failure) == (
        "castorini/first_mistral",
        10,
        False,
    )
    inner = ranker._reranker.strategy
    assert inner == SlidingWindow(inner=SingleToken(prompt="rankllm-letters.v1"))


def test_a_backend_of_ones_own_is_kept(oracle):
    assert FirstRanker(backend=oracle).backend is oracle


FIRST_ON_M = {"strategy": "single-token", "model": "m"}


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (FIRST_ON_M | {"strategy": "no-such"}, UnknownNameError, "strategies. Known"),
        (FIRST_ON_M | {"strategy": {"name": "single-token", "promt": "x"}}, InputError, "promt"),
        (FIRST_ON_M | {"strategy": {"size": 3}}, InputError, "needs a name"),
        ({"strategy": "single-token", "backend": "no-such"}, UnknownNameError, "transformers"),
        ({"strategy": "single-token", "backend": {"name": "transformers"}}, InputError, "model"),
        (FIRST_ON_M | {"backend": "transformers"}, InputError, "not both"),
        ({"strategy": "single-token"}, InputError, "model="),
        ({"model": "first_mistrel"}, UnknownNameError, "castorini/first_mistral"),
        (FIRST_ON_M | {"limits": {"calls": 3}}, InputError, "max_calls"),
        (FIRST_ON_M | {"backend_options": {"modl": 1}}, InputError, "modl"),
        (FIRST_ON_M | {"backend_options": {"token": "hf_1"}}, InputError, "plain text"),
        (FIRST_ON_M | {"score_threshold": math.nan}, InputError, "score_threshold"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, error, says):
    with pytest.raises(error, match=says):
        PluginRanker(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": "castorini/rank_zephyr_7b_v1_full"}, "another way of ranking"),
        ({"window": 1}, "window is 1, expected at least 2"),
        ({"window": 5, "stride": 5}, "stride"),
        ({"prompt": "frst.v1"}, "first.v1"),
        ({"prompt": "query-likelihood.v1"}, "not a listwise prompt"),
    ],
)
def test_bad_arguments_of_first(arguments, says):
    with pytest.raises((InputError, ConfigurationError), match=says):
        FirstRanker(**{"model": "a/b"} | arguments)


def test_options_belong_to_backends_that_are_built_here(oracle):
    with pytest.raises(InputError, match="device"):
        FirstRanker(backend=oracle, device=ComponentDevice.from_str("cpu"))


# Serialisation


def test_to_dict_of_the_defaults():
    assert FirstRanker("castorini/first_mistral").to_dict() == {
        "type": FIRST,
        "init_parameters": {
            "model": "castorini/first_mistral",
            "backend": None,
            "chat_generator": None,
            "base_url": None,
            "api_key": None,
            "window": 20,
            "stride": 10,
            "prompt": None,
            "policy": None,
            "top_k": 10,
            "score_threshold": None,
            "cut_at_gap": False,
            "keep_at_least": 0,
            "chunk_words": None,
            "scale_score": False,
            "meta_fields_to_embed": [],
            "meta_data_separator": "\n",
            "device": None,
            "token": TOKEN,
            "backend_options": None,
            "limits": None,
            "raise_on_failure": False,
        },
    }


def test_to_dict_and_back_with_everything_set():
    ranker = PluginRanker(
        strategy=SlidingWindow(inner=Permutation(prompt="rankvicuna.v1"), size=8, stride=4),
        backend=TransformersBackend("some/model", dtype="bfloat16"),
        top_k=3,
        score_threshold=-1.5,
        drop_unranked=True,
        meta_fields_to_embed=["title"],
        meta_data_separator=" | ",
        query_prefix="query: ",
        query_suffix="?",
        document_prefix="passage: ",
        document_suffix=".",
        token=Secret.from_env_var("MY_TOKEN"),
        limits={"timeout_s": 3.0},
        raise_on_failure=True,
    )
    data = ranker.to_dict()
    parameters = data["init_parameters"]
    assert data["type"] == PLUGIN
    assert parameters["strategy"] == {
        "name": "sliding-window",
        "inner": {
            "name": "permutation",
            "prompt": "rankvicuna.v1",
            "max_tokens": None,
            "top_m": None,
            "allow_none": False,
            "sampling": {
                "name": "sampling",
                "temperature": 0.0,
                "top_p": 1.0,
                "top_k": 0,
                "seed": 0,
            },
        },
        "size": 8,
        "stride": 4,
        "passes": 1,
    }
    assert parameters["backend"]["name"] == "transformers"
    assert parameters["backend"]["dtype"] == "bfloat16"
    assert parameters["token"] == {"type": "env_var", "env_vars": ["MY_TOKEN"], "strict": True}
    before = copy.deepcopy(data)
    again, twice = PluginRanker.from_dict(data), PluginRanker.from_dict(data)
    assert data == before
    assert again.to_dict() == twice.to_dict() == data
    assert again._reranker.strategy == ranker._reranker.strategy


@pytest.mark.parametrize("name", ["api_key", "token"])
def test_a_secret_as_text_is_refused_and_not_shown(name):
    with pytest.raises(InputError, match=f"{name} is of type str, expected a Secret") as refused:
        PluginRanker("first_mistral", **{name: "sk-1"})
    assert "sk-1" not in str(refused.value)


def test_a_device_by_name_is_refused_with_what_haystack_takes():
    with pytest.raises(InputError, match=r"device is 'cpu'.*ComponentDevice\.from_str\(\"cpu\"\)"):
        PluginRanker(device="cpu")


@pytest.mark.parametrize("parameters", [{}, {"device": {"type": "single", "device": "cpu"}}])
def test_from_dict_fills_in_the_defaults(parameters):
    given = {"model": "a/b", **parameters}
    ranker = FirstRanker.from_dict({"type": FIRST, "init_parameters": given})
    assert ranker.top_k == 10
    assert ranker.device == (ComponentDevice.from_str("cpu") if parameters else None)
    assert FirstRanker.from_dict(ranker.to_dict()).to_dict() == ranker.to_dict()


def test_a_pipeline_survives_yaml():
    pipeline = Pipeline()
    pipeline.add_component("first", FirstRanker(backend={"name": "transformers", "model": "m"}))
    pipeline.add_component("plugin", PluginRanker(model="castorini/rank_vicuna_7b_v1"))
    pipeline.connect("first.documents", "plugin.documents")
    text = pipeline.dumps()
    assert Pipeline.loads(text).dumps() == text
    assert "object at 0x" not in text
    assert "cuda" not in text
    assert "cpu" not in text


def test_secrets_are_never_written(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ranker = FirstRanker(model="private/model")
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    assert "hf_secret" not in pipeline.dumps()
    assert "hf_secret" not in repr(vars(ranker))
    assert "hf_secret" not in repr(ranker._reranker)
    fixed = FirstRanker(model="m", token=Secret.from_token("hf_secret"))
    with pytest.raises(ValueError, match="token"):
        fixed.to_dict()
    built = FirstRanker(backend=TransformersBackend("m", token="hf_secret"))
    with pytest.raises(ConfigurationError, match="secret") as raised:
        built.to_dict()
    assert "hf_secret" not in str(raised.value)


def test_what_has_no_spec_says_so(oracle):
    with pytest.raises(ConfigurationError, match="Oracle"):
        FirstRanker(backend=oracle).to_dict()


def test_yaml_with_an_unknown_strategy_lists_the_known_ones():
    pipeline = Pipeline()
    pipeline.add_component("r", PluginRanker(strategy="single-token", model="m"))
    text = pipeline.dumps().replace("single-token", "singel-token")
    with pytest.raises((DeserializationError, UnknownNameError), match="single-token"):
        Pipeline.loads(text)


# Life


@pytest.fixture
def loads(monkeypatch, tiny_model, tokenizer):
    """Every loading of a model, with its arguments and thread."""
    calls = []

    def load(name, **options):
        calls.append({"name": name, "thread": threading.current_thread(), **options})
        return tiny_model, tokenizer

    monkeypatch.setattr("rerank_plugins.backends._local.transformers.load_language_model", load)
    return calls


def test_the_model_is_loaded_once_and_with_what_was_asked(loads, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ranker = FirstRanker(
        model="m", device=ComponentDevice.from_str("cpu"), backend_options={"dtype": "float32"}
    )
    assert not loads
    for _ in range(2):
        ranker.warm_up()
    run(ranker, docs(1, 2))
    [call] = loads
    assert (call["name"], call["device"], call["dtype"]) == ("m", "cpu", "float32")
    assert call["token"] == "hf_secret"
    ranker.close()
    ranker.close()
    run(ranker, docs(1, 2))
    assert len(loads) == 2


def test_asynchronous_life_is_not_on_the_loop(loads):
    ranker = FirstRanker(model="m")

    async def live():
        await ranker.warm_up_async()
        await ranker.warm_up_async()
        await ranker.close_async()
        await ranker.close_async()

    asyncio.run(live())
    [call] = loads
    assert call["thread"] is not threading.main_thread()


def test_life_is_passed_on_to_a_backend_and_not_missed_by_another(counting, oracle):
    ranker = FirstRanker(backend=counting)
    ranker.warm_up()
    ranker.close()
    assert (counting.warmed, counting.closed) == (1, 1)
    without = FirstRanker(backend=oracle)
    without.warm_up()
    without.close()
    asyncio.run(without.warm_up_async())
    asyncio.run(without.close_async())


def test_one_signature():
    for cls in (FirstRanker, PluginRanker):
        assert inspect.signature(cls.run) == inspect.signature(cls.run_async)


# Running


@MODES
def test_the_order_is_the_models(mode, oracle):
    result = run(FirstRanker(backend=oracle), docs(1, 3, 2), mode)
    assert ids(result) == ["1", "2", "0"]
    scores = [d.score for d in result["documents"]]
    assert scores == sorted(scores, reverse=True)
    assert {type(s) for s in scores} == {float}
    assert set(result["meta"]) == META
    assert result["meta"]["score_kind"] == "logprob"
    assert result["meta"]["usage"]["calls"] == 1


@MODES
@pytest.mark.parametrize("n", [0, 1, 2, 20, 21, 500])
@pytest.mark.parametrize("top_k", [1, 7, 1000])
def test_every_length_and_every_cut(mode, n, top_k, oracle):
    documents = docs(*((i * 37) % 101 for i in range(n)))
    result = run(FirstRanker(backend=oracle, top_k=3), documents, mode, top_k=top_k)
    expected = Reranker(SlidingWindow(inner=SingleToken()), oracle).rank(
        "q", [d.content for d in documents], top_k=top_k
    )
    assert ids(result) == [str(i) for i in expected.order]
    assert [d.score for d in result["documents"]] == list(expected.scores)
    assert set(result["meta"]) == META


def test_top_k_of_the_component_and_of_the_run(oracle):
    ranker = FirstRanker(backend=oracle, top_k=2)
    assert len(ranker.run(query="q", documents=docs(1, 2, 3))["documents"]) == 2
    assert len(ranker.run(query="q", documents=docs(1, 2, 3), top_k=1)["documents"]) == 1
    everything = FirstRanker(backend=oracle, top_k=None)
    assert len(everything.run(query="q", documents=docs(*range(30)))["documents"]) == 30


@MODES
@pytest.mark.parametrize("query", ["", "  \n", "\u200b\x00"])
def test_a_blank_query_keeps_the_order_and_asks_nothing(mode, query, oracle, caplog):
    ranker = FirstRanker(backend=oracle, top_k=2)
    result = run(ranker, docs(1, 3, 2), mode, query=query)
    assert ids(result) == ["0", "1"]
    assert oracle.asked == []
    assert result["meta"]["fallback"]
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


def test_of_two_copies_the_better_one_is_ranked_where_the_first_stood(oracle):
    documents = [
        Document(id="x", content="aa", score=0.2),
        Document(id="y", content="aaa", score=None),
        Document(id="x", content="a", score=0.9),
        Document(id="y", content="aaaa", score=math.nan),
        Document(id="x", content="aaaaaa", score=0.9),
    ]
    result = run(FirstRanker(backend=oracle), documents)
    assert [(d.id, d.content) for d in result["documents"]] == [("y", "aaa"), ("x", "a")]
    assert result["meta"]["duplicates_removed"] == 3


@MODES
def test_two_retrievers_feed_one_ranker(mode, oracle):
    store = InMemoryDocumentStore()
    store.write_documents([Document(id=str(i), content="flea " * i) for i in range(1, 6)])
    pipeline = Pipeline()
    pipeline.add_component("one", InMemoryBM25Retriever(store, top_k=4))
    pipeline.add_component("two", InMemoryBM25Retriever(store, top_k=4))
    pipeline.add_component("ranker", FirstRanker(backend=oracle))
    pipeline.connect("one.documents", "ranker.documents")
    pipeline.connect("two.documents", "ranker.documents")
    data = {"one": {"query": "flea"}, "two": {"query": "flea"}, "ranker": {"query": "flea"}}
    result = pipeline.run(data) if mode == "sync" else asyncio.run(pipeline.run_async(data))
    found = result["ranker"]["documents"]
    assert len(found) == len({d.id for d in found}) == 4
    assert [len(d.content) for d in found] == sorted((len(d.content) for d in found), reverse=True)
    assert result["ranker"]["meta"]["duplicates_removed"] == 4


def test_documents_of_every_shape_come_back_whole(oracle, caplog):
    documents = [
        Document(id="empty", content=None),
        Document(id="embedded", content="aa", embedding=[0.5, 0.25], meta={"k": [1]}),
        Document(id="scored", content="aaa", score=np.float32(0.5)),
        Document(id="blank", content=""),
    ]
    before = copy.deepcopy(documents)
    result = run(FirstRanker(backend=oracle), documents)
    assert documents == before
    assert ids(result) == ["scored", "embedded", "empty", "blank"]
    assert result["documents"][1] == replace(documents[1], score=result["documents"][1].score)
    assert {type(d.score) for d in result["documents"]} == {float}
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "2 of 4 passages have no text" in warnings[0]


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        (None, "documents is of type NoneType, expected a list"),
        (["a text"], r"documents\[0\] is of type str, expected Document"),
    ],
)
def test_what_is_no_list_of_documents_is_refused(documents, says, oracle):
    with pytest.raises(InputError, match=says):
        FirstRanker(backend=oracle).run(query="a", documents=documents)


def test_meta_and_affixes_are_what_the_model_reads():
    model = Oracle()
    ranker = PluginRanker(
        strategy="query-likelihood",
        backend=model,
        meta_fields_to_embed=["title", "year", "absent", "none"],
        meta_data_separator=" | ",
        query_prefix="query: ",
        query_suffix="?",
        document_prefix="passage: ",
        document_suffix=".",
    )
    ranker.run(
        query="q",
        documents=[Document(content="text", meta={"title": "T", "year": 0, "none": None})],
    )
    [call] = model.asked
    assert "passage: T | 0 | text." in call.prompt.text
    assert call.continuation.text.strip() == "query: q?"


@pytest.mark.parametrize("threshold", [-0.25, -0.2, -0.19, -5, 0.0])
def test_the_threshold_is_inclusive_and_comes_before_top_k(threshold, oracle):
    # The oracle's log-probabilities are -1 / (2 + length) for texts of the letter a.
    scores = {"2": -1 / 5, "1": -1 / 4, "0": -1 / 3}
    result = run(FirstRanker(backend=oracle), docs(1, 2, 3), score_threshold=threshold, top_k=2)
    assert ids(result) == [i for i, s in scores.items() if s >= threshold][:2]
    assert result["meta"]["score_threshold_applied"]
    fixed = FirstRanker(backend=oracle, score_threshold=threshold, top_k=2)
    assert ids(run(fixed, docs(1, 2, 3))) == ids(result)


def test_a_threshold_on_places_is_ignored_aloud(oracle, caplog):
    ranker = FirstRanker(backend=oracle, score_threshold=0.4, window=2, stride=1)
    result = run(ranker, docs(1, 2, 3))
    assert result["meta"]["score_kind"] == "rank"
    assert len(result["documents"]) == 3
    assert not result["meta"]["score_threshold_applied"]
    assert "score_threshold is ignored" in caplog.text


@MODES
def test_what_the_model_leaves_out_follows_or_is_dropped(mode):
    def ranker(**options):
        return PluginRanker(
            strategy=Permutation(), backend=Scripted(["[3] > [3] > [9]"]), **options
        )

    kept = run(ranker(), docs(1, 1, 1), mode)
    assert ids(kept) == ["2", "0", "1"]
    assert kept["meta"]["repairs"] == {
        "malformed": 0,
        "missing": 2,
        "duplicates": 1,
        "out_of_range": 1,
        "unseen_labels": 0,
        "written_orders": 0,
        "cut_answers": 0,
        "invalid_grades": 0,
    }
    assert not kept["meta"]["fallback"]
    assert ids(run(ranker(drop_unranked=True), docs(1, 1, 1), mode)) == ["2"]


def test_identical_scores_are_told(caplog):
    same = Oracle(key=lambda query, passage: 1.0)
    run(PluginRanker(strategy="query-likelihood", backend=same), docs(1, 2))
    assert "the same score" in caplog.text


# Failing


@MODES
@pytest.mark.parametrize("backend", ["failing", "crashing", "stalling"])
def test_a_failure_keeps_the_order_and_invents_nothing(mode, backend, request, caplog):
    limits = {"timeout_s": 0.3} if backend == "stalling" else None  # the others do not wait
    ranker = FirstRanker(backend=request.getfixturevalue(backend), top_k=2, limits=limits)
    documents = [replace(d, score=s) for d, s in zip(docs(1, 2, 3), (0.1, None, 0.7), strict=True)]
    result = run(ranker, documents, mode)
    assert [(d.id, d.score) for d in result["documents"]] == [("0", 0.1), ("1", None)]
    assert result["meta"]["fallback"]
    [cause] = result["meta"]["causes"]
    expected = {"failing": "the server is down", "crashing": "CUDA", "stalling": "0.3 seconds"}
    assert expected[backend] in cause
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert expected[backend] in warnings[0]


@MODES
@pytest.mark.parametrize("answer", ["I cannot rank these.", "", "[x] > [y]", '{"documents": []}'])
def test_babble_keeps_the_order(mode, answer, caplog):
    ranker = PluginRanker(strategy=Permutation(), backend=Scripted([answer]), top_k=2)
    result = run(ranker, [replace(d, score=0.5) for d in docs(1, 2, 3)], mode)
    assert [(d.id, d.score) for d in result["documents"]] == [("0", 0.5), ("1", 0.5)]
    assert result["meta"]["repairs"]["malformed"] == 1
    assert result["meta"]["causes"] == ["the model's answer cannot be read"]
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


@MODES
@pytest.mark.parametrize(
    ("backend", "error"),
    [("failing", BackendError), ("crashing", BackendError), ("stalling", BudgetError)],
)
def test_or_it_is_raised(mode, backend, error, request):
    ranker = FirstRanker(
        backend=request.getfixturevalue(backend),
        raise_on_failure=True,
        limits={"timeout_s": 0.3},
    )
    inputs = {"query": "q", "documents": docs(1, 2)}
    with pytest.raises(error):
        ranker.run(**inputs) if mode == "sync" else asyncio.run(ranker.run_async(**inputs))


@MODES
def test_a_wrong_setup_is_never_mistaken_for_a_failure(mode, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((ConfigurationError, PipelineRuntimeError), match="no/such/model"):
        run(FirstRanker(model="no/such/model"), docs(1, 2), mode)


def test_a_part_that_fails_costs_its_windows_only(caplog, oracle):
    """Windows of two from the bottom: the one without a long passage fails, the next two sort."""
    fails = Failing(when=lambda call: "aaaa" not in call.prompt.text, otherwise=oracle)
    result = run(FirstRanker(backend=fails, window=2, stride=1), docs(4, 5, 1, 1))
    assert ids(result) == ["1", "0", "2", "3"]
    assert result["meta"]["fallback"]
    assert result["meta"]["causes"] == ["BackendError: this backend always fails"]
    assert result["meta"]["score_kind"] == "rank"
    assert "a part kept its order" in caplog.text


def test_cancelling_propagates(stalling):
    ranker = FirstRanker(backend=stalling)

    async def cancelled():
        task = asyncio.create_task(ranker.run_async(query="q", documents=docs(1, 2)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


# Colours, threads, snapshots, traces


@MODES
def test_a_backend_of_either_colour_serves_both(mode):
    class OnLoop:
        def __init__(self):
            self.inner = None
            self.oracle = Oracle(key=lambda q, p: float(len(p)))
            self.used = []

        def run(self, calls):
            self.used.append("sync")
            return self.oracle.run(calls)

        async def arun(self, calls):
            self.used.append("async")
            return self.oracle.run(calls)

    backend = OnLoop()
    assert ids(run(FirstRanker(backend=backend), docs(1, 2), mode)) == ["1", "0"]
    assert backend.used == [mode]


def test_eight_threads_and_one_pipeline(tiny):
    pipeline = Pipeline()
    pipeline.add_component("ranker", FirstRanker(backend=tiny, window=4, stride=2))
    documents = [Document(id=str(i), content=f"passage {i} " * (i + 1)) for i in range(9)]
    data = {"ranker": {"query": "a question", "documents": documents}}
    alone = ids(pipeline.run(data)["ranker"])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: ids(pipeline.run(data)["ranker"]), range(16)))
    assert results == [alone] * 16


def test_a_snapshot_is_whole_and_resumes(oracle):
    pipeline = Pipeline()
    pipeline.add_component("one", FirstRanker(backend=oracle, top_k=3))
    pipeline.add_component("two", FirstRanker(backend=oracle, top_k=1))
    pipeline.connect("one.documents", "two.documents")
    documents = [replace(d, score=np.float64(0.5)) for d in docs(1, 3, 2)]
    data = {"one": {"query": "q", "documents": documents}, "two": {"query": "q"}}
    expected = ids(pipeline.run(data)["two"])
    with pytest.raises(BreakpointException) as stopped:
        pipeline.run(data, break_point=Breakpoint("two"))
    resumed = pipeline.run({}, pipeline_snapshot=stopped.value.pipeline_snapshot)
    assert ids(resumed["two"]) == expected == ["1"]


class Spy(tracing.Tracer):
    """Keeps every span."""

    class Kept(tracing.Span):
        def __init__(self, name, tags):
            self.name, self.tags = name, dict(tags)

        def set_tag(self, key, value):
            self.tags[key] = value

    def __init__(self):
        self.spans = []

    @contextmanager
    def trace(self, operation_name, tags=None, parent_span=None):
        span = self.Kept(operation_name, tags or {})
        self.spans.append(span)
        yield span

    def current_span(self):
        return self.spans[-1] if self.spans else None


@MODES
def test_one_span_with_the_cost_and_no_texts(mode, oracle):
    spy = Spy()
    tracing.enable_tracing(spy)
    try:
        run(FirstRanker(backend=oracle), [Document(content="a secret text"), *docs(1)], mode)
    finally:
        tracing.disable_tracing()
    [span] = [s for s in spy.spans if s.name == "rerank_plugins.rank"]
    assert span.tags["rerank_plugins.documents"] == 2
    assert span.tags["rerank_plugins.calls"] == 1
    assert span.tags["gen_ai.usage.input_tokens"] > 0
    assert span.tags["gen_ai.usage.output_tokens"] == 0
    assert span.tags["rerank_plugins.score_kind"] == "logprob"
    assert "secret text" not in str(span.tags)


def test_it_joins_a_pipeline_of_the_frameworks_own(oracle):
    """A ranker between a joiner and a second ranker of another kind."""
    pipeline = Pipeline()
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.add_component("first", FirstRanker(backend=oracle))
    pipeline.add_component(
        "likelihood", PluginRanker(strategy=QueryLikelihood(), backend=oracle, top_k=1)
    )
    pipeline.connect("joiner.documents", "first.documents")
    pipeline.connect("first.documents", "likelihood.documents")
    data = {
        "joiner": {"documents": docs(2, 5)},
        "first": {"query": "q"},
        "likelihood": {"query": "q"},
    }
    assert ids(pipeline.run(data)["likelihood"]) == ["1"]


def test_every_known_checkpoint_makes_a_ranker():
    for name in list_presets():
        assert PluginRanker(model=name).to_dict()["init_parameters"]["model"] == name
