"""The LangChain document compressor, through real retrievers and chains."""

import asyncio
import copy
import inspect
import json
import math
import pickle
import warnings

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd, dumps, load
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rerank_plugins import PluginRerank

from rerank_plugins import BackendError, BudgetError, InputError, Reranker, UnknownNameError
from rerank_plugins.backends import OpenAIBackend, TransformersBackend
from rerank_plugins.strategies import Hybrid, PairScore, Permutation, SingleToken, SlidingWindow
from rerank_plugins.testing import Scripted

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
FIRST = SlidingWindow(inner=SingleToken())


def first(backend, **options):
    return PluginRerank(strategy=FIRST, backend=backend, **options)


def documents(*lengths):
    return [Document("a" * n, id=str(i), metadata={"page": i}) for i, n in enumerate(lengths)]


def run(reranker, found, mode="sync", query="q", **options):
    if mode == "sync":
        return reranker.compress_documents(found, query, **options)
    return asyncio.run(reranker.acompress_documents(found, query, **options))


def ids(found):
    return [document.id for document in found]


class Trace(BaseCallbackHandler):
    """Keeps what a tracer is told about steps."""

    def __init__(self):
        self.kept = []

    def on_chain_start(self, serialized, inputs, *, name=None, parent_run_id=None, **kwargs):
        self.kept.append(("start", name, inputs, parent_run_id))

    def on_chain_end(self, outputs, **kwargs):
        self.kept.append(("end", outputs))

    def on_chain_error(self, error, **kwargs):
        self.kept.append(("error", error))


class Fixed(BaseRetriever):
    """Finds the same documents for every query."""

    found: list

    def _get_relevant_documents(self, query, *, run_manager):
        return self.found


# Construction and storage


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"top_n": 0}, ValueError, "top_n"),
        ({"top_k": 3}, InputError, r"no top_k. Did you mean top_n\?"),
        ({"top_n": True}, ValueError, "top_n"),
        ({"score_threshold": math.inf}, ValueError, "score_threshold"),
        ({"windw": 3}, ValueError, "windw"),
        ({"model": "no/such"}, UnknownNameError, "With strategy="),
        ({"strategy": "no-such", "model": "m"}, UnknownNameError, "no-such"),
        ({"strategy": "permutation"}, InputError, "model= or backend="),
        ({"strategy": "permutation", "model": "m", "limits": {"calls": 1}}, InputError, "calls"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, error, says):
    with pytest.raises(error, match=says):
        PluginRerank(**arguments)


def test_first_guesses_are_told_what_is_expected(oracle):
    reranker = first(oracle)
    with pytest.raises(InputError, match="a list of Document"):
        reranker.compress_documents("q", documents(1, 2))
    for job in ("q", {"query": "q", "docs": documents(1)}):
        with pytest.raises(InputError, match="a dictionary with query and documents"):
            reranker.as_step().invoke(job)


def test_what_would_be_ignored_cannot_be_assigned(oracle):
    reranker = first(oracle)
    for name in ("strategy", "backend", "model", "preset", "limits", "raise_on_failure"):
        with pytest.raises(ValueError, match="frozen"):
            setattr(reranker, name, None)
    reranker.top_n = 1
    assert ids(run(reranker, documents(1, 2))) == ["1"]


def test_the_signature_names_every_field():
    assert set(inspect.signature(PluginRerank).parameters) == set(PluginRerank.model_fields)


@pytest.mark.parametrize(
    "reranker",
    [
        PluginRerank(model="castorini/rank_zephyr_7b_v1_full", top_n=None),
        PluginRerank(strategy=SlidingWindow(inner=Permutation()), backend=TransformersBackend("m")),
        PluginRerank(strategy="permutation", model="m", limits={"timeout_s": 2.0}, score_key="s"),
    ],
)
def test_it_can_be_stored_and_copied(reranker):
    stored = json.loads(dumps(reranker))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the framework calls its own `load` unfinished
        loaded = load(
            stored,
            allowed_objects=[PluginRerank],
            valid_namespaces=["langchain_rerank_plugins"],
        )
    copies = (loaded, pickle.loads(pickle.dumps(reranker)), copy.deepcopy(reranker))
    for again in (*copies, reranker.model_copy()):
        assert dumpd(again) == dumpd(reranker) == stored
        assert again.reranker.strategy == reranker.reranker.strategy
        assert repr(again.reranker) == repr(reranker.reranker)


def test_an_object_that_cannot_be_stored_is_marked(oracle):
    stored = dumpd(first(oracle))
    assert stored["kwargs"]["backend"]["type"] == "not_implemented"
    json.dumps(stored)


def test_a_key_is_nowhere():
    options = {"strategy": "permutation", "backend": "openai", "backend_options": {"api_key": "x"}}
    with pytest.raises(InputError, match="api_key"):
        PluginRerank(**options)
    backend = OpenAIBackend(model="m", base_url="http://localhost:1", api_key="s3cret")
    reranker = PluginRerank(strategy="permutation", backend=backend)
    assert "s3cret" not in dumps(reranker) + repr(reranker) + str(reranker)
    with pytest.raises(ValueError, match="top_n") as raised:
        PluginRerank(strategy="permutation", backend=backend, top_n=-1)
    assert "s3cret" not in str(raised.value)


# Ranking


@MODES
def test_the_order_is_the_models_and_nothing_is_changed(mode, oracle):
    given = documents(1, 3, 2)
    before = copy.deepcopy(given)
    found = run(first(oracle), given, mode)
    assert ids(found) == ["1", "2", "0"]
    assert [document.metadata["page"] for document in found] == [1, 2, 0]
    scores = [document.metadata["relevance_score"] for document in found]
    assert {type(score) for score in scores} == {float}
    assert scores == sorted(scores, reverse=True)
    assert given == before
    json.dumps(dumpd(found))


@MODES
@pytest.mark.parametrize("n", [0, 1, 20, 21, 300])
@pytest.mark.parametrize("top_n", [None, 1, 1000])
def test_every_length_and_every_cut_as_in_the_core(mode, n, top_n, oracle):
    given = documents(*((i * 37) % 101 for i in range(n)))
    found = run(first(oracle, top_n=top_n), given, mode)
    texts = [document.page_content for document in given]
    expected = Reranker(FIRST, oracle).rank("q", texts, top_k=top_n)
    assert ids(found) == [str(i) for i in expected.order]
    scores = [document.metadata["relevance_score"] for document in found]
    if n:
        assert scores == list(expected.scores)


def test_a_blank_query_keeps_the_order(oracle):
    given = documents(1, 2, 3)
    assert run(first(oracle, top_n=2), given, query=" ") == given[:2]
    assert oracle.asked == []


def test_a_score_that_is_there_moves_and_is_not_lost(oracle):
    given = [Document("a", metadata={"relevance_score": "high", "previous_relevance_score": 7})]
    [found] = run(first(oracle), [*given, Document("")])[:1]
    assert found.metadata["previous_relevance_score"] == "high"
    assert found.metadata["previous_previous_relevance_score"] == 7
    assert isinstance(found.metadata["relevance_score"], float)
    [found] = run(first(oracle, score_key="first"), [*given, Document("")])[:1]
    assert found.metadata["relevance_score"] == "high"
    assert isinstance(found.metadata["first"], float)


def test_only_a_copy_is_left_out(oracle):
    same = Document("aaa", id="x")
    found = run(first(oracle), [same, Document("aa", id="x"), same, Document("a"), Document("a")])
    assert [document.page_content for document in found] == ["aaa", "aa", "a", "a"]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((0.9, 0.8, 0.0), "similarity"),
        ((0.1, 0.2, 3), "distance"),
        ((1, "low", True), "incomplete"),
    ],
)
def test_the_retrievers_scores_are_read_where_they_are(scores, said, oracle):
    mixed = {"strategy": Hybrid(PairScore(), alpha=0.5), "backend": oracle}
    given = [Document("a", metadata={"score": score}) for score in scores]
    for options, expected in (({}, "none"), ({"retriever_score_key": "score"}, said)):
        step = PluginRerank(**mixed, **options).as_step()
        report = step.invoke({"query": "q", "documents": given})["report"]
        assert report["retriever_scores"] == expected


def test_threshold_scale_and_dropping(oracle):
    # The oracle's log-probabilities are -1 / (2 + length) for texts of the letter a.
    assert ids(run(first(oracle, score_threshold=-0.25), documents(1, 2, 3))) == ["2", "1"]
    [best] = run(first(oracle, scale_score=True, top_n=1), documents(1, 2, 3))
    assert best.metadata["relevance_score"] == pytest.approx(math.exp(-1 / 5))
    wrote = Scripted(["[2]"])
    dropping = PluginRerank(strategy="permutation", backend=wrote, drop_unranked=True)
    assert ids(run(dropping, documents(1, 1, 1))) == ["1"]


def test_the_reranker_can_be_warmed_up_and_closed(counting):
    reranker = first(counting)
    reranker.reranker.warm_up()
    reranker.reranker.close()
    assert (counting.warmed, counting.closed) == (1, 1)


# Failing


@MODES
@pytest.mark.parametrize("backend", ["failing", "crashing", "stalling"])
def test_a_failure_keeps_order_and_metadata(mode, backend, request, caplog):
    model = request.getfixturevalue(backend)
    limits = {"timeout_s": 0.3} if backend == "stalling" else None
    reranker, given, trace = first(model, top_n=2, limits=limits), documents(1, 2, 3), Trace()
    assert run(reranker, given, mode, callbacks=[trace]) == given[:2]
    expected = {"failing": "the server is down", "crashing": "CUDA", "stalling": "0.3 seconds"}
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert expected[backend] in warning
    report = trace.kept[-1][1]["report"]
    assert report["fallback"]
    assert expected[backend] in report["causes"][0]


@MODES
@pytest.mark.parametrize(
    ("backend", "error"),
    [("failing", BackendError), ("crashing", BackendError), ("stalling", BudgetError)],
)
def test_or_it_is_raised(mode, backend, error, request):
    model, trace = request.getfixturevalue(backend), Trace()
    reranker = first(model, raise_on_failure=True, limits={"timeout_s": 0.3})
    with pytest.raises(error):
        run(reranker, documents(1, 2), mode, callbacks=[trace])
    assert isinstance(trace.kept[-1][1], error)


def test_cancelling_propagates_and_ends_the_step(stalling):
    trace = Trace()

    async def cancelled():
        work = first(stalling).acompress_documents(documents(1, 2), "q", callbacks=[trace])
        task = asyncio.create_task(work)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [entry[0] for entry in trace.kept] == ["start", "error"]


# Tracing, chains and retrievers


@MODES
def test_a_ranking_is_a_step_of_the_trace_with_its_cost(mode, oracle):
    trace = Trace()
    run(first(oracle), documents(1, 2), mode, callbacks=[trace])
    (_, name, inputs, _), (_, outputs) = trace.kept
    assert (name, inputs["query"], ids(inputs["documents"])) == ("PluginRerank", "q", ["0", "1"])
    assert ids(outputs["documents"]) == ["1", "0"]
    assert outputs["report"]["usage"]["calls"] == 1
    assert outputs["report"]["score_kind"] == "logprob"


@MODES
def test_as_a_step_it_gives_the_report_too(mode, oracle):
    parts = {"query": lambda query: query, "documents": lambda _: documents(1, 2)}
    chain = RunnableLambda(lambda query: query) | parts | first(oracle).as_step()
    found = chain.invoke("q") if mode == "sync" else asyncio.run(chain.ainvoke("q"))
    assert (ids(found["documents"]), found["report"]["usage"]["calls"]) == (["1", "0"], 1)


def chain_of(oracle):
    texts = ["a" * n for n in range(1, 6)]
    store = InMemoryVectorStore.from_texts(texts, DeterministicFakeEmbedding(size=8))
    retriever, reranker = store.as_retriever(search_kwargs={"k": 5}), first(oracle, top_n=2)

    def search(query):
        return reranker.compress_documents(retriever.invoke(query), query)

    async def asearch(query):
        return await reranker.acompress_documents(await retriever.ainvoke(query), query)

    return RunnableLambda(search, asearch, name="search")


@MODES
def test_in_a_chain_it_is_a_child_of_the_step_that_calls_it(mode, oracle):
    trace, chain = Trace(), chain_of(oracle)
    config = {"callbacks": [trace]}
    asynchronous = mode == "async"
    found = asyncio.run(chain.ainvoke("q", config)) if asynchronous else chain.invoke("q", config)
    assert [document.page_content for document in found] == ["aaaaa", "aaaa"]
    starts = {entry[1]: entry[3] for entry in trace.kept if entry[0] == "start"}
    assert list(starts) == ["search", "PluginRerank"]
    assert starts["search"] is None
    assert starts["PluginRerank"] is not None


def test_batches_are_ranked_at_the_same_time(oracle):
    for found in chain_of(oracle).batch(["q"] * 8):
        assert [document.page_content for document in found] == ["aaaaa", "aaaa"]


def test_the_stream_of_a_model_behind_it_is_undisturbed(oracle):
    model = FakeListChatModel(responses=["an answer"])
    chain = chain_of(oracle) | (lambda found: found[0].page_content) | model

    async def pieces():
        return [piece.content async for piece in chain.astream("q")]

    async def events():
        return [event async for event in chain.astream_events("q", version="v2")]

    assert [piece.content for piece in chain.stream("q")] == list("an answer")
    assert asyncio.run(pieces()) == list("an answer")
    seen = asyncio.run(events())
    streamed = [e["data"]["chunk"].content for e in seen if e["event"] == "on_chat_model_stream"]
    assert streamed == list("an answer")
    [end] = [e for e in seen if (e["event"], e["name"]) == ("on_chain_end", "PluginRerank")]
    assert end["data"]["output"]["report"]["usage"]["calls"] == 1


@MODES
def test_in_the_compression_retriever(mode, oracle):
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    compressors = pytest.importorskip("langchain_classic.retrievers.document_compressors")
    pipeline = compressors.DocumentCompressorPipeline(transformers=[first(oracle, top_n=2)])
    for compressor in (first(oracle, top_n=2), pipeline):
        retriever = retrievers.ContextualCompressionRetriever(
            base_compressor=compressor, base_retriever=Fixed(found=documents(1, 3, 2))
        )
        trace = Trace()
        config = {"callbacks": [trace]}
        if mode == "sync":
            found = retriever.invoke("q", config)
        else:
            found = asyncio.run(retriever.ainvoke("q", config))
        assert ids(found) == ["1", "2"]
        [(_, name, _, parent)] = [entry for entry in trace.kept if entry[0] == "start"]
        assert name == "PluginRerank"
        assert parent is not None
    assert isinstance(first(oracle), BaseDocumentCompressor)
