"""A reranker goes by the same names in every framework, and is stored by its name."""

import asyncio
import json
from importlib.util import find_spec

import llama_index.postprocessor.rerank_plugins as postprocessors
import pytest
from haystack import Document, Pipeline
from haystack.utils import Secret
from haystack_integrations.components import rankers  # noqa: F401 - the namespace
from haystack_integrations.components.rankers.rerank_plugins import (
    FirstRanker,
    GroupwiseRanker,
    PluginRanker,
    PointwiseRanker,
)
from langchain_core.documents import Document as LangChainDocument
from langchain_rerank_plugins import PluginRerank as Compressor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rerank_plugins import (
    FirstRerank,
    GroupwiseRerank,
    PluginRerank,
    PointwiseRerank,
)
from openai_server import MODEL, OpenAIServer

from rerank_plugins import ConfigurationError, InputError, UnknownNameError
from rerank_plugins.backends import CrossEncoderBackend, OpenAIBackend
from rerank_plugins.presets import DEFAULT_PRESET, UNTRAINED

TEXTS = ["short", "by far the longest of all texts", "a longer one"]
BEST = "by far the longest of all texts"  # to the model of the server
KEY = "a-key-that-nobody-may-see"
needs_models = pytest.mark.skipif(
    find_spec("rerank_plugins_models") is None, reason="no models: pip install ./models"
)


@pytest.fixture
def server():
    found = OpenAIServer(models=[MODEL])
    yield found
    found.close()


def parts(component):
    return component._reranker.strategy, component._reranker.backend.inner


def stored_again(component):
    """The component after YAML or JSON, and that text."""
    if isinstance(component, postprocessors.FirstRerank.__mro__[1]):
        text = component.to_json()
        return type(component).from_json(text), text
    pipeline = Pipeline()
    pipeline.add_component("ranker", component)
    return Pipeline.loads(pipeline.dumps()).get_component("ranker"), pipeline.dumps()


@needs_models
@pytest.mark.parametrize("build", [lambda: PluginRanker(top_k=5), lambda: PluginRerank(top_n=5)])
def test_without_a_name_it_is_the_default(build):
    component = build()
    again, text = stored_again(component)
    assert component.model == DEFAULT_PRESET
    assert parts(component)[1].model == DEFAULT_PRESET
    assert parts(again)[0] == parts(component)[0]
    assert DEFAULT_PRESET in text
    assert "/site-packages" not in text
    assert str(find_spec("rerank_plugins_models").origin).rpartition("/")[0] not in text


@needs_models
def test_the_default_of_langchain():
    compressor = Compressor()
    assert compressor.reranker.backend.inner.model == DEFAULT_PRESET


@pytest.mark.parametrize("cls", [PluginRanker, PluginRerank])
@pytest.mark.parametrize("name", ["first_mistral", "castorini/first_mistral", "First_MISTRAL"])
def test_a_checkpoint_by_its_short_name(cls, name):
    component = cls(name)
    assert component.model == name
    again, _ = stored_again(component)
    for one in (component, again):
        strategy, backend = parts(one)
        assert strategy.inner.prompt == "rankllm-letters.v1"
        assert backend.model == "castorini/first_mistral"


@pytest.mark.parametrize("cls", [PluginRanker, PluginRerank])
def test_a_spec_and_a_spec_file(cls, tmp_path):
    spec = {"model": "bge-reranker-base", "max_tokens": 99, "limits": {"max_calls": 7}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    for name in (spec, str(tmp_path / "spec.json")):
        again, _ = stored_again(cls(name))
        strategy, backend = parts(again)
        assert isinstance(backend, CrossEncoderBackend)
        assert (backend.model, backend.max_tokens) == ("BAAI/bge-reranker-base", 99)
        assert again._reranker.limits.max_calls == 7
        assert strategy.titled == "{title} {passage}"
    own = cls({"strategy": "first", "backend": {"model": "first_mistral"}})
    assert parts(own)[1].model == "castorini/first_mistral"
    with pytest.raises(InputError, match=r"no max_tokenz\. Did you mean max_tokens"):
        cls({"model": "bge-reranker-base", "max_tokenz": 99})


@needs_models
@pytest.mark.parametrize("cls", [PluginRanker, PluginRerank])
def test_shipped_models_and_adapters_in_specs(cls):
    backend = {"name": "cross-encoder", "model": DEFAULT_PRESET}
    by_parts = cls(backend=backend, strategy="pair-score")
    adapter = cls("smollm2-first", base="some.gguf")
    in_a_spec = cls({"model": "rerank-plugins/smollm2-first", "base": "some.gguf"})
    for component in (by_parts, adapter, in_a_spec):
        again, text = stored_again(component)
        assert parts(again)[0] == parts(component)[0]
        assert "site-packages" not in text
    for component in (adapter, in_a_spec):
        backend = parts(component)[1]
        assert (backend.model, backend.adapter) == ("some.gguf", "rerank-plugins/smollm2-first")


@pytest.mark.parametrize("cls", [FirstRanker, FirstRerank, PluginRanker, PluginRerank])
def test_a_model_on_a_server(cls, server):
    """By its name and the address, or by the address alone: then the server is asked."""
    for component in (cls(MODEL, base_url=server.url), cls(server.url), cls(base_url=server.url)):
        found, backend = component, parts(component)[1]
        assert isinstance(backend, OpenAIBackend)
        assert backend.model == MODEL
        assert found._reranker.strategy.inner.policy == "generate"
        again, text = stored_again(found)
        assert server.url in text
        for one in (found, again):
            assert best(one) == BEST


def best(component):
    if hasattr(component, "run"):
        documents = [Document(content=text) for text in TEXTS]
        found = component.run(query="q", documents=documents)["documents"]
        on_loop = asyncio.run(component.run_async(query="q", documents=documents))["documents"]
        assert [d.content for d in on_loop] == [d.content for d in found]
        return found[0].content
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    return component.postprocess_nodes(nodes, query_str="q")[0].get_content()


def test_a_model_on_a_server_in_langchain(server):
    compressor = Compressor(model=server.url)
    found = compressor.compress_documents([LangChainDocument(t) for t in TEXTS], "q")
    assert found[0].page_content == BEST
    assert Compressor(model=MODEL, base_url=server.url).reranker.strategy.inner.policy == "generate"


@pytest.mark.parametrize(
    "cls", [FirstRanker, GroupwiseRanker, PointwiseRanker, FirstRerank, GroupwiseRerank]
)
def test_every_paradigm_runs_on_a_server(cls):
    component = cls("some-model", base_url="http://localhost:8000")
    assert parts(component)[1].base_url == "http://localhost:8000/v1"


def test_a_key_is_the_framework_s_secret(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    secret = Secret.from_env_var("MY_KEY")
    for cls in (FirstRanker, PluginRanker, PointwiseRanker):
        ranker = cls("m", base_url="http://localhost", api_key=secret)
        again, text = stored_again(ranker)
        assert "MY_KEY" in text
        assert KEY not in text
        assert parts(again)[1].api_key() == KEY
        assert KEY not in repr(ranker)


@pytest.mark.parametrize("cls", [FirstRerank, PluginRerank, PointwiseRerank])
def test_a_key_is_never_stored_by_a_postprocessor(cls):
    reranker = cls("m", base_url="http://localhost", api_key=KEY)
    again, text = stored_again(reranker)
    assert parts(reranker)[1].api_key == KEY
    assert parts(again)[1].api_key is None
    for shown in (text, repr(reranker), str(reranker.to_dict())):
        assert KEY not in shown
    from_environment = cls(
        "m", base_url="http://localhost", backend_options={"api_key_env": "MY_KEY"}
    )
    again, _ = stored_again(from_environment)
    assert parts(again)[1].api_key_env == "MY_KEY"


@pytest.mark.parametrize("cls", [FirstRanker, FirstRerank, PluginRanker, PluginRerank])
def test_an_address_where_nothing_answers(cls, server):
    server.die()
    with pytest.raises(ConfigurationError, match=r"Start the server, or check the address\.$"):
        cls(server.url)
    server.come_back()


@pytest.mark.parametrize("cls", [PluginRanker, PluginRerank])
def test_names_that_nobody_knows(cls):
    with pytest.raises(UnknownNameError, match="Did you mean castorini/first_mistral"):
        cls("first_mistrall")
    with pytest.raises(UnknownNameError, match="Did you mean sliding-window"):
        cls("a/b", strategy="sliding-windw")


@pytest.mark.parametrize("cls", [FirstRanker, FirstRerank])
def test_a_spec_is_for_the_generic_component(cls):
    with pytest.raises(InputError, match="generic component"):
        cls("spec.yaml")


@pytest.mark.parametrize("cls", [PluginRanker, PluginRerank])
def test_first_is_a_strategy_s_name(cls):
    assert parts(cls("a/b", strategy="first"))[0].inner.prompt == "first.v1"
    trained = parts(cls("first_mistral", strategy="first"))[0]
    assert trained.inner.prompt == "rankllm-letters.v1"


def test_the_application_s_own_model_needs_no_strategy():
    from haystack.components.generators.chat.mock import MockChatGenerator
    from llama_index.core.llms import MockLLM

    ranker = PluginRanker(chat_generator=MockChatGenerator("x"))
    reranker = PluginRerank(llm=MockLLM())
    for component in (ranker, reranker):
        assert component._reranker.strategy.inner.policy == UNTRAINED["inner"]["policy"]


def test_relevance_feedback_takes_a_name(server):
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack_integrations.components.retrievers.rerank_plugins import FeedbackRetriever
    from llama_index.core import MockEmbedding, VectorStoreIndex
    from llama_index.retrievers.rerank_plugins import FeedbackRetriever as LlamaRetriever

    store = InMemoryDocumentStore()
    store.write_documents(
        [Document(content=text, embedding=[1.0, float(i)]) for i, text in enumerate(TEXTS)]
    )
    retriever = FeedbackRetriever(retriever=InMemoryEmbeddingRetriever(store), ranker=server.url)
    found = retriever.run(query="q", query_embedding=[1.0, 0.5])["documents"]
    assert found[0].content == BEST
    pipeline = Pipeline()
    pipeline.add_component("it", retriever)
    assert Pipeline.loads(pipeline.dumps()).get_component("it").ranker.model == server.url
    nodes = [TextNode(text=text, embedding=[1.0, float(i)]) for i, text in enumerate(TEXTS)]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(2))
    named = LlamaRetriever(index.as_retriever(similarity_top_k=50), server.url, top_k=1)
    assert named.retrieve("q")[0].get_content() == BEST
