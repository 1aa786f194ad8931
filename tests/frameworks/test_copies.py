"""Components are copied and pickled: the twin has no loaded model, and loads its own."""

import asyncio
import copy
import pickle

import pytest
import tiny_models
from haystack import Document, Pipeline
from haystack.components.generators.chat import MockChatGenerator
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker, PluginRanker
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rerank_plugins import FirstRerank, PluginRerank

from rerank_plugins import load_reranker

TEXTS = ["a cat", "the flea", "a dog and a flea"]
TWINS = pytest.mark.parametrize(
    "twin",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["deepcopy", "pickle"],
)
WARM = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cross-encoder of a few words and random weights."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "cat", "dog", "flea", "and"]
    path = tmp_path_factory.mktemp("cross-encoder")
    tiny_models.bert(words, path, longest=32, num_labels=1, initializer_range=0.6)
    return str(path)


def backend_of(component):
    """The backend inside the guarding layer."""
    return component._reranker.backend.inner


def ranked(ranker):
    found = ranker.run(query="the flea", documents=[Document(content=t) for t in TEXTS])
    return [(d.content, d.score) for d in found["documents"]]


def postprocessed(reranker):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = reranker.postprocess_nodes(nodes, query_str="the flea")
    return [(n.get_content(), n.score) for n in found]


@TWINS
@WARM
def test_a_haystack_ranker(twin, warm, folder):
    spec = {"name": "cross-encoder", "model": folder}
    ranker = PluginRanker(strategy="pair-score", backend=spec, raise_on_failure=True)
    if warm:
        ranker.warm_up()
    again = twin(ranker)
    assert backend_of(again)._loaded is None
    assert (backend_of(ranker)._loaded is not None) == warm
    assert again.to_dict() == ranker.to_dict()
    assert ranked(again) == ranked(ranker)
    documents = [Document(content=t) for t in TEXTS]
    found = asyncio.run(again.run_async(query="the flea", documents=documents))
    assert [d.content for d in found["documents"]] == [text for text, _ in ranked(ranker)]


@WARM
def test_a_haystack_pipeline(warm, folder):
    pipeline = Pipeline()
    spec = {"name": "cross-encoder", "model": folder}
    pipeline.add_component("ranker", PluginRanker(strategy="pair-score", backend=spec))
    if warm:
        pipeline.warm_up()
    again = copy.deepcopy(pipeline)
    assert backend_of(again.get_component("ranker"))._loaded is None
    data = {"ranker": {"query": "the flea", "documents": [Document(content=t) for t in TEXTS]}}
    found, expected = (p.run(data)["ranker"]["documents"] for p in (again, pipeline))
    assert found == expected


@WARM
def test_a_llama_index_postprocessor(warm, folder):
    spec = {"name": "cross-encoder", "model": folder}
    reranker = PluginRerank(strategy="pair-score", backend=spec, raise_on_failure=True)
    if warm:
        reranker.warm_up()
    again = pickle.loads(pickle.dumps(reranker))
    assert backend_of(again)._loaded is None
    assert postprocessed(again) == postprocessed(reranker)


@TWINS
def test_the_default_reranker(twin):
    again = twin(load_reranker())
    assert again.to_spec() == load_reranker().to_spec()


@TWINS
def test_around_a_chat_generator(twin):
    ranker = FirstRanker(chat_generator=MockChatGenerator("[2] > [1]"), top_k=2)
    ranked(ranker)
    again = twin(ranker)
    assert backend_of(again) is not backend_of(ranker)
    assert backend_of(again).max_concurrency == backend_of(ranker).max_concurrency
    assert ranked(again) == ranked(ranker)


@pytest.mark.parametrize("llm", [MockLLM(), "settings"], ids=["object", "settings"])
def test_around_an_llm(llm):
    reranker = FirstRerank(llm=llm, backend_options={"max_concurrency": 3})
    again = pickle.loads(pickle.dumps(reranker))
    assert type(again.llm) is type(llm)
    assert again.to_dict() | {"llm": None} == reranker.to_dict() | {"llm": None}
    assert backend_of(again).max_concurrency == 3
    twin = copy.deepcopy(backend_of(reranker))
    assert repr(twin) == repr(backend_of(reranker))
    assert twin.max_concurrency == 3
