"""The LlamaIndex postprocessors: the framework's own contract list, through real engines."""

import asyncio
import copy
import json
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.postprocessor.rerank_plugins import FirstRerank, PluginRerank

from rerank_plugins import (
    BackendError,
    BudgetError,
    ConfigurationError,
    InputError,
    Reranker,
    UnknownNameError,
)
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.components import find_prompts
from rerank_plugins.strategies import Permutation, SingleToken, SlidingWindow
from rerank_plugins.testing import Oracle, Scripted

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
BUNDLE = QueryBundle("q")


def nodes(*lengths):
    return [
        NodeWithScore(node=TextNode(text="a" * n, id_=str(i)), score=0.5)
        for i, n in enumerate(lengths)
    ]


def ids(found):
    return [n.node.node_id for n in found]


def run(reranker, found, mode="sync", **query):
    query = query or {"query_bundle": BUNDLE}
    if mode == "sync":
        return reranker.postprocess_nodes(found, **query)
    return asyncio.run(reranker.apostprocess_nodes(found, **query))


class Events(BaseEventHandler):
    """Keeps the rerank events."""

    kept: list = Field(default_factory=list)

    @classmethod
    def class_name(cls):
        return "Events"

    def handle(self, event, **kwargs):
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.kept.append(event)


@pytest.fixture
def events():
    handler, spans = Events(kept=[]), SimpleSpanHandler()
    root = get_dispatcher()
    root.add_event_handler(handler)
    root.add_span_handler(spans)
    yield handler.kept
    root.event_handlers.remove(handler)
    root.span_handlers.remove(spans)


# Construction and storage


@pytest.mark.parametrize("cls", [FirstRerank, PluginRerank])
def test_it_is_a_postprocessor(cls):
    assert BaseNodePostprocessor.__name__ in [base.__name__ for base in cls.__mro__]
    assert cls.class_name() == cls.__name__


@pytest.mark.parametrize("cls", [FirstRerank, PluginRerank])
def test_the_fields_are_the_constructors_keywords(cls):
    import inspect

    assert set(inspect.signature(cls).parameters) == set(cls.model_fields)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"top_n": 0}, ValueError, "^top_n must be > 0, but got 0$"),
        ({"top_n": -1}, ValueError, "^top_n must be > 0, but got -1$"),
        ({"window": 1}, InputError, "window is 1, expected at least 2"),
        ({"stride": 20}, InputError, "stride"),
        ({"prompt": "frst.v1"}, UnknownNameError, "first.v1"),
        ({"model": "castorini/rank_vicuna_7b_v1"}, InputError, "another way of ranking"),
        ({"backend": "no-such"}, UnknownNameError, "transformers"),
        ({"backend_options": {"modl": 1}}, InputError, "modl"),
        ({"limits": {"calls": 1}}, InputError, "max_calls"),
        ({"score_threshold": math.inf}, InputError, "score_threshold"),
        ({"windw": 3}, TypeError, "unexpected keyword argument 'windw'. Did you mean window"),
        ({"top_k": 3}, TypeError, r"'top_k'. Did you mean top_n\?"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, error, says):
    with pytest.raises(error, match=says):
        FirstRerank(**{"model": None if "backend" in arguments else "a/b"} | arguments)


@pytest.mark.parametrize(
    "reranker",
    [
        FirstRerank("castorini/first_mistral"),
        FirstRerank(model="a/b", window=5, stride=2, prompt="first.v1", top_n=None, device="cpu"),
        FirstRerank(backend=TransformersBackend("m", dtype="bfloat16")),
        PluginRerank(
            strategy=SlidingWindow(inner=Permutation()), model="m", limits={"timeout_s": 2.0}
        ),
        PluginRerank(model="castorini/rank_zephyr_7b_v1_full", metadata_mode=MetadataMode.LLM),
    ],
)
def test_it_can_be_stored(reranker):
    cls = type(reranker)
    data = reranker.to_dict()
    for again in (
        cls.from_dict(data),
        cls.from_json(reranker.to_json()),
        pickle.loads(pickle.dumps(reranker)),
        copy.deepcopy(reranker),
    ):
        assert again.to_dict() == data
        assert again._reranker.strategy == reranker._reranker.strategy
        assert repr(again._reranker.backend) == repr(reranker._reranker.backend)
    assert json.loads(reranker.to_json())["class_name"] == cls.__name__


def test_an_object_that_cannot_be_stored_says_so(oracle):
    class Unstorable:
        lock = threading.Lock()

        def __init__(self):
            self.own = threading.Lock()

        run = oracle.run

    reranker = FirstRerank(backend=Unstorable())
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(reranker)
    with pytest.raises(ConfigurationError, match="Unstorable"):
        reranker.to_json()


@pytest.mark.parametrize("nodes", [None, "a text", [TextNode(text="a text")]])
def test_what_is_no_list_of_nodes_is_one_error(nodes, oracle):
    with pytest.raises(InputError, match="nodes"):
        FirstRerank(backend=oracle).postprocess_nodes(nodes, QueryBundle("q"))


def test_what_would_be_ignored_cannot_be_assigned(oracle):
    reranker = FirstRerank(backend=oracle)
    for name in ("model", "backend", "window", "prompt", "limits", "raise_on_failure"):
        with pytest.raises(ValueError, match="frozen"):
            setattr(reranker, name, None)
    reranker.top_n = 1
    assert ids(run(reranker, nodes(1, 2))) == ["1"]


def test_a_copy_shares_the_model(oracle):
    reranker = FirstRerank(backend=oracle)
    assert copy.deepcopy(reranker)._reranker is reranker._reranker


# Ranking


@MODES
def test_the_order_is_the_models(mode, oracle):
    given = nodes(1, 3, 2)
    before = copy.deepcopy(given)
    found = run(FirstRerank(backend=oracle), given, mode)
    assert ids(found) == ["1", "2", "0"]
    assert {type(n.score) for n in found} == {float}
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)
    assert given == before
    assert found[0] is not given[1]
    assert found[0].node is given[1].node


@MODES
@pytest.mark.parametrize("n", [0, 1, 2, 20, 21, 500])
@pytest.mark.parametrize("top_n", [None, 1, 1000])
def test_every_length_and_every_cut_as_in_the_core(mode, n, top_n, oracle):
    given = nodes(*((i * 37) % 101 for i in range(n)))
    found = run(FirstRerank(backend=oracle, top_n=top_n), given, mode)
    expected = Reranker(SlidingWindow(inner=SingleToken()), oracle).rank(
        "q", [n.get_content() for n in given], top_k=top_n
    )
    assert ids(found) == [str(i) for i in expected.order]
    assert [n.score for n in found] == list(expected.scores)


@MODES
def test_a_missing_query_is_an_error(mode, oracle):
    with pytest.raises(ValueError, match=r"^Missing query bundle\.$"):
        run(FirstRerank(backend=oracle), nodes(1), mode, query_bundle=None)


@MODES
def test_a_blank_query_keeps_the_order(mode, oracle):
    assert ids(run(FirstRerank(backend=oracle, top_n=2), nodes(1, 2, 3), mode, query_str=" "))
    assert oracle.asked == []


def test_of_two_copies_the_better_one_is_ranked(oracle):
    given = [
        NodeWithScore(node=TextNode(text="a", id_="x"), score=0.1),
        NodeWithScore(node=TextNode(text="aaa", id_="y"), score=None),
        NodeWithScore(node=TextNode(text="aa", id_="x"), score=0.2),
    ]
    found = run(FirstRerank(backend=oracle), given)
    assert [(n.node.node_id, n.get_content()) for n in found] == [("y", "aaa"), ("x", "aa")]


def test_nodes_of_every_kind_are_kept(oracle, caplog):
    given = [
        NodeWithScore(node=ImageNode(id_="image", image="aGVsbG8="), score=0.1),
        NodeWithScore(node=Node(id_="media", image_resource=MediaResource(data=b"aGVsbG8="))),
        NodeWithScore(node=IndexNode(text="aa", index_id="i", id_="index"), score=0.3),
        NodeWithScore(node=TextNode(text="aaa", id_="text"), score=0.2),
    ]
    given[3].score = np.float32(0.25)
    found = run(FirstRerank(backend=oracle), given)
    assert ids(found) == ["text", "index", "image", "media"]
    assert "2 of 4 passages have no text" in caplog.text
    json.dumps([n.to_dict() for n in found])


@pytest.mark.parametrize(
    ("mode", "seen"),
    [(MetadataMode.EMBED, {"a"}), (MetadataMode.LLM, {"b"}), (MetadataMode.NONE, set())],
)
def test_the_model_reads_the_metadata_of_the_mode(mode, seen):
    node = TextNode(
        text="text",
        metadata={"a": "for-embed", "b": "for-llm"},
        excluded_embed_metadata_keys=["b"],
        excluded_llm_metadata_keys=["a"],
    )
    model = Oracle()
    reranker = PluginRerank(strategy="query-likelihood", backend=model, metadata_mode=mode)
    run(reranker, [NodeWithScore(node=node)])
    text = model.asked[0].prompt.text
    assert {k for k, v in node.metadata.items() if v in text} == seen
    assert "text" in text


def test_threshold_and_dropping(oracle):
    # The oracle's log-probabilities are -1 / (2 + length) for texts of the letter a.
    found = run(FirstRerank(backend=oracle, score_threshold=-0.25, top_n=5), nodes(1, 2, 3))
    assert ids(found) == ["2", "1"]
    wrote = Scripted(["[2]"])
    dropping = PluginRerank(strategy="permutation", backend=wrote, drop_unranked=True)
    assert ids(run(dropping, nodes(1, 1, 1))) == ["1"]


# Failing


@MODES
@pytest.mark.parametrize("backend", ["failing", "crashing", "stalling"])
def test_a_failure_keeps_order_and_scores(mode, backend, request, caplog, events):
    model = request.getfixturevalue(backend)
    limits = {"timeout_s": 0.3} if backend == "stalling" else None  # the others do not wait
    reranker = FirstRerank(backend=model, top_n=2, limits=limits)
    found = run(reranker, nodes(1, 2, 3), mode)
    assert [(n.node.node_id, n.score) for n in found] == [("0", 0.5), ("1", 0.5)]
    expected = {"failing": "the server is down", "crashing": "CUDA", "stalling": "0.3 seconds"}
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert expected[backend] in warning
    end = events[-1]
    assert ids(end.nodes) == ["0", "1"]
    assert end.tags["rerank_plugins"]["fallback"]
    assert expected[backend] in end.tags["rerank_plugins"]["causes"][0]


@MODES
def test_babble_keeps_order_and_scores(mode):
    reranker = PluginRerank(strategy="permutation", backend=Scripted(["Great question!"]))
    found = run(reranker, nodes(1, 2, 3), mode)
    assert [(n.node.node_id, n.score) for n in found] == [("0", 0.5), ("1", 0.5), ("2", 0.5)]


@MODES
@pytest.mark.parametrize(
    ("backend", "error"),
    [("failing", BackendError), ("crashing", BackendError), ("stalling", BudgetError)],
)
def test_or_it_is_raised(mode, backend, error, request, events):
    reranker = FirstRerank(
        backend=request.getfixturevalue(backend),
        raise_on_failure=True,
        limits={"timeout_s": 0.3},
    )
    with pytest.raises(error):
        run(reranker, nodes(1, 2), mode)
    start, end = events
    assert (len(start.nodes), end.nodes) == (2, [])
    assert error.__name__ in end.tags["rerank_plugins"]["error"]


def test_cancelling_propagates_and_ends_the_event(stalling, events):
    reranker = FirstRerank(backend=stalling)

    async def cancelled():
        task = asyncio.create_task(reranker.apostprocess_nodes(nodes(1, 2), BUNDLE))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [type(e) for e in events] == [ReRankStartEvent, ReRankEndEvent]
    assert "CancelledError" in events[-1].tags["rerank_plugins"]["error"]


# Instrumentation


@MODES
@pytest.mark.parametrize("n", [0, 1, 3])
def test_both_events_are_there_and_belong_to_one_span(mode, n, oracle, events):
    run(FirstRerank(backend=oracle, top_n=None), nodes(*range(1, n + 1)), mode)
    start, end = events
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert start.span_id is not None
    assert start.span_id == end.span_id
    assert (start.top_n, start.model_name, len(start.nodes)) == (n, "Oracle", n)
    assert len(end.nodes) == n
    if n > 1:
        assert end.tags["rerank_plugins"]["usage"]["calls"] == 1


class Legacy(BaseCallbackHandler):
    """Keeps the legacy events."""

    def __init__(self):
        super().__init__([], [])
        self.kept = []

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
        self.kept.append(("start", event_type, payload))
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
        self.kept.append(("end", event_type, payload))

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass


@MODES
def test_the_legacy_event_too(mode, oracle, failing):
    handler = Legacy()
    reranker = FirstRerank(backend=oracle, callback_manager=CallbackManager([handler]))
    run(reranker, nodes(1, 2), mode)
    (one, kind, before), (two, _, after) = handler.kept
    assert (one, two, kind) == ("start", "end", CBEventType.RERANKING)
    assert before[EventPayload.QUERY_STR] == "q"
    assert before[EventPayload.MODEL_NAME] == "Oracle"
    assert before[EventPayload.TOP_K] == 10
    assert ids(after[EventPayload.NODES]) == ["1", "0"]
    broken = FirstRerank(
        backend=failing, raise_on_failure=True, callback_manager=CallbackManager([handler])
    )
    with pytest.raises(BackendError):
        run(broken, nodes(1, 2), mode)
    assert [what for what, *_ in handler.kept] == ["start", "end"] * 2


# Prompts


def test_prompts_are_reached_by_the_frameworks_convention():
    model = Oracle()
    reranker = FirstRerank(backend=model)
    [(place, template)] = reranker.get_prompts().items()
    assert place == "inner.prompt"
    assert isinstance(template, ChatPromptTemplate)
    assert {"query", "passages"} <= set(template.template_vars)
    reranker.update_prompts(reranker.get_prompts())  # what was read can be written back
    run(reranker, nodes(1, 2))
    before = model.asked[-1].prompt
    reranker.update_prompts({place: PromptTemplate("{query}? Choose one of\n{passages}")})
    run(reranker, nodes(1, 2))
    after = model.asked[-1].prompt
    assert after != before
    assert "Choose one of" in after.text
    again = FirstRerank.from_dict({**reranker.to_dict(), "backend": model})
    run(again, nodes(1, 2))
    assert model.asked[-1].prompt == after


@pytest.mark.parametrize(
    ("reranker", "place"),
    [
        (FirstRerank(model="m"), "inner.prompt"),
        (PluginRerank(strategy="query-likelihood", model="m"), "prompt"),
    ],
)
def test_changed_prompts_are_pickled_and_stored(reranker, place):
    text = "{passage}\nQuestion:" if place == "prompt" else "{query}? Choose one of\n{passages}"
    template = PromptTemplate(text)
    backend = reranker._reranker.backend
    reranker.update_prompts({place: template})
    assert reranker._reranker.backend is backend
    changed = find_prompts(reranker._reranker.strategy)
    assert changed[place].user == template.template
    for again in (
        pickle.loads(pickle.dumps(reranker)),
        type(reranker).from_json(reranker.to_json()),
        copy.deepcopy(reranker),
    ):
        assert find_prompts(again._reranker.strategy) == changed


def test_prompts_of_a_plugin_and_bad_ones(oracle):
    reranker = PluginRerank(strategy="query-likelihood", backend=oracle)
    assert isinstance(reranker.get_prompts()["prompt"], PromptTemplate)
    reranker.update_prompts({"prompt": PromptTemplate("{passage}\nQuestion:")})
    assert reranker.strategy["prompt"]["user"] == "{passage}\nQuestion:"
    with pytest.raises(InputError, match="no prompts"):
        reranker.update_prompts({"choice_select_prompt": PromptTemplate("{passage}")})
    with pytest.raises(ConfigurationError, match="passage"):
        reranker.update_prompts({"prompt": PromptTemplate("nothing")})


def test_the_prompt_is_unchanged_by_reading_and_writing_it_back(oracle):
    for name in ("first.v1", "rankllm-letters.v1", "rankzephyr.v1", "rankvicuna.v1"):
        reranker = PluginRerank(strategy={"name": "permutation", "prompt": name}, backend=oracle)
        before = find_prompts(reranker._reranker.strategy)
        reranker.update_prompts(reranker.get_prompts())
        assert find_prompts(reranker._reranker.strategy) == before


# Engines


@pytest.fixture
def index():
    previous = Settings._llm, Settings._embed_model
    Settings.llm, Settings.embed_model = MockLLM(), MockEmbedding(embed_dim=4)
    yield VectorStoreIndex([n.node for n in nodes(*range(1, 9))])
    Settings._llm, Settings._embed_model = previous


@MODES
def test_in_a_query_engine(mode, index, oracle, events):
    engine = index.as_query_engine(
        similarity_top_k=8, node_postprocessors=[FirstRerank(backend=oracle, top_n=3)]
    )
    answer = engine.query("q") if mode == "sync" else asyncio.run(engine.aquery("q"))
    assert ids(answer.source_nodes) == ["7", "6", "5"]
    assert all(e.span_id for e in events)


@MODES
def test_in_a_chat_engine(mode, index, oracle):
    engine = ContextChatEngine.from_defaults(
        retriever=index.as_retriever(similarity_top_k=8),
        node_postprocessors=[FirstRerank(backend=oracle, top_n=2)],
        memory=ChatMemoryBuffer.from_defaults(),  # the default one leaves a database open
    )
    answer = engine.chat("q") if mode == "sync" else asyncio.run(engine.achat("q"))
    assert ids(answer.source_nodes) == ["7", "6"]


def test_the_synchronous_path_works_inside_a_running_loop(index, oracle):
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=8),
        node_postprocessors=[FirstRerank(backend=oracle, limits={"timeout_s": 60})],
    )

    async def main():
        return engine.retrieve(BUNDLE)

    assert ids(asyncio.run(main()))[0] == "7"


def test_two_postprocessors_in_a_row(index, oracle):
    engine = index.as_query_engine(
        similarity_top_k=8,
        node_postprocessors=[
            FirstRerank(backend=oracle, top_n=4),
            PluginRerank(strategy="query-likelihood", backend=oracle, top_n=1),
        ],
    )
    assert ids(engine.query("q").source_nodes) == ["7"]


def test_eight_threads_and_one_instance(tiny):
    reranker = FirstRerank(backend=tiny, window=4, stride=2)
    given = [
        NodeWithScore(node=TextNode(text=f"passage {i} " * (i + 1), id_=str(i))) for i in range(9)
    ]
    alone = ids(run(reranker, given))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ids(run(reranker, given)), range(16)))
    assert found == [alone] * 16
