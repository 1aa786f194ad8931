"""An instruction for one request, in all three frameworks, sync and async."""

import asyncio
import inspect

import pytest

haystack = pytest.importorskip("haystack")
pytest.importorskip("llama_index.core")
pytest.importorskip("langchain_core")

from haystack import Document, Pipeline  # noqa: E402
from haystack.components.builders import PromptBuilder  # noqa: E402
from haystack.core.errors import PipelineRuntimeError  # noqa: E402
from haystack_integrations.components.rankers import rerank_plugins as rankers  # noqa: E402
from langchain_core.documents import Document as Text  # noqa: E402
from langchain_rerank_plugins import PluginRerank as Compressor  # noqa: E402
from llama_index.core import MockEmbedding, VectorStoreIndex  # noqa: E402
from llama_index.core.llms import MockLLM  # noqa: E402
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode  # noqa: E402
from llama_index.postprocessor.rerank_plugins import (  # noqa: E402
    InstructedQuery,
    PluginRerank,
    PointwiseRerank,
)

from rerank_plugins import InputError  # noqa: E402
from rerank_plugins.testing import Oracle  # noqa: E402

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
TEXTS = ["a dog", "a flea", "fleas jump"]
OWN = "Find fleas."
TOLD = "Find what vets say."
NO_PLACE = "PairScore has no place for an instruction"


@pytest.fixture
def model():
    return Oracle(key=lambda query, passage: float(len(passage)))


def told(model):
    """The instructions that the model was told, in order and once each."""
    found = [call.prompt.text.splitlines() for call in model.asked]
    model.asked.clear()
    lines = [line for text in found for line in text if "<Instruct>" in line or "Task:" in line]
    return list(dict.fromkeys(lines))


def in_pipeline(ranker, mode, **inputs):
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    documents = [Document(content=text) for text in TEXTS]
    data = {"ranker": {"query": "q", "documents": documents, **inputs}}
    if mode == "sync":
        return pipeline.run(data)["ranker"]
    return asyncio.run(pipeline.run_async(data))["ranker"]


@MODES
def test_in_a_haystack_pipeline(mode, model):
    def ranker():
        return rankers.PluginRanker(strategy="pointwise", backend=model)

    found = in_pipeline(ranker(), mode, instruction=TOLD)
    assert told(model) == [f"<Instruct>: {TOLD}"]
    assert [d.content for d in found["documents"]] == ["fleas jump", "a flea", "a dog"]
    assert not found["meta"]["fallback"]
    in_pipeline(ranker(), mode)
    assert TOLD not in "".join(told(model))


@MODES
def test_it_replaces_that_of_a_haystack_constructor(mode, model):
    def ranker():
        return rankers.PointwiseRanker(backend=model, prompt="qwen3-reranker.v1", instruction=OWN)

    in_pipeline(ranker(), mode, instruction=TOLD)
    assert told(model) == [f"<Instruct>: {TOLD}"]
    in_pipeline(ranker(), mode)
    assert told(model) == [f"<Instruct>: {OWN}"]


@MODES
def test_another_haystack_component_may_write_it(mode, model):
    pipeline = Pipeline()
    builder = PromptBuilder("Find what {{ who }} say.", required_variables=["who"])
    pipeline.add_component("builder", builder)
    pipeline.add_component("ranker", rankers.PluginRanker(strategy="pointwise", backend=model))
    pipeline.connect("builder.prompt", "ranker.instruction")
    documents = [Document(content=text) for text in TEXTS]
    data = {"builder": {"who": "vets"}, "ranker": {"query": "q", "documents": documents}}
    _ = pipeline.run(data) if mode == "sync" else asyncio.run(pipeline.run_async(data))
    assert told(model) == [f"<Instruct>: {TOLD}"]


@MODES
@pytest.mark.parametrize(
    ("instruction", "says"),
    [(TOLD, NO_PLACE), (" ", "instruction is ' '"), (7, "instruction is 7")],
)
def test_what_haystack_refuses(mode, model, instruction, says):
    ranker = rankers.PluginRanker(strategy="pair-score", backend=model)
    call = ranker.run if mode == "sync" else lambda **k: asyncio.run(ranker.run_async(**k))
    with pytest.raises(InputError, match=says):
        call(query="q", documents=[Document(content="a")], instruction=instruction)
    if isinstance(instruction, str):
        with pytest.raises(PipelineRuntimeError, match=says):
            in_pipeline(ranker, mode, instruction=instruction)
    assert not model.asked


def test_every_haystack_ranker_has_the_input():
    for name in rankers.__all__:
        if name.endswith("Ranker"):
            for run in (getattr(rankers, name).run, getattr(rankers, name).run_async):
                assert inspect.signature(run).parameters["instruction"].default is None


def nodes():
    return [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]


@MODES
def test_in_llama_index(mode, model):
    reranker = PluginRerank(strategy="pointwise", backend=model, top_n=1, instruction=OWN)

    def rank(bundle):
        if mode == "sync":
            return reranker.postprocess_nodes(nodes(), query_bundle=bundle)
        return asyncio.run(reranker.apostprocess_nodes(nodes(), query_bundle=bundle))

    assert rank(InstructedQuery("q", instruction=TOLD))[0].get_content() == "fleas jump"
    assert told(model) == [f"<Instruct>: {TOLD}"]
    for bundle in (QueryBundle("q"), InstructedQuery("q")):
        rank(bundle)
        assert told(model) == [f"<Instruct>: {OWN}"]


@MODES
def test_in_a_llama_index_engine(mode, model):
    index = VectorStoreIndex([n.node for n in nodes()], embed_model=MockEmbedding(embed_dim=4))
    engine = index.as_query_engine(
        llm=MockLLM(), node_postprocessors=[PluginRerank(strategy="pointwise", backend=model)]
    )
    query = InstructedQuery("q", instruction=TOLD)
    _ = engine.query(query) if mode == "sync" else asyncio.run(engine.aquery(query))
    assert told(model) == [f"<Instruct>: {TOLD}"]


def test_it_is_stored_with_a_llama_index_postprocessor(model):
    reranker = PluginRerank("Qwen3-Reranker-0.6B", instruction=OWN)
    again = PluginRerank.from_json(reranker.to_json())
    assert again.instruction == again._reranker.strategy.instruction == OWN
    assert PluginRerank(strategy="pointwise", backend=model).instruction is None
    with pytest.raises(ValueError, match="frozen"):
        reranker.instruction = TOLD


def test_what_llama_index_refuses(model):
    query = InstructedQuery("q", instruction=TOLD)
    for reranker in (
        PluginRerank(strategy="pair-score", backend=model),
        PointwiseRerank("BAAI/bge-reranker-base"),
    ):
        with pytest.raises(InputError, match=NO_PLACE):
            reranker.postprocess_nodes(nodes(), query_bundle=query)
    with pytest.raises(InputError, match=NO_PLACE):
        PluginRerank(strategy="pair-score", backend=model, instruction=OWN)
    reranker = PointwiseRerank(backend=model)
    with pytest.raises(InputError, match="instruction is ''"):
        reranker.postprocess_nodes(nodes(), query_bundle=InstructedQuery("q", instruction=""))
    assert not model.asked


@MODES
def test_in_langchain(mode, model):
    reranker = Compressor(strategy="pointwise", backend=model, top_n=1, instruction=OWN)
    documents = [Text(text) for text in TEXTS]

    def compress():
        if mode == "sync":
            return reranker.compress_documents(documents, "q")
        return asyncio.run(reranker.acompress_documents(documents, "q"))

    assert compress()[0].page_content == "fleas jump"
    assert told(model) == [f"<Instruct>: {OWN}"]
    job = {"query": "q", "documents": documents, "instruction": TOLD}
    step = reranker.as_step()
    _ = step.invoke(job) if mode == "sync" else asyncio.run(step.ainvoke(job))
    assert told(model) == [f"<Instruct>: {TOLD}"]


def test_what_langchain_refuses(model):
    with pytest.raises(InputError, match=NO_PLACE):
        Compressor(strategy="pair-score", backend=model, instruction=OWN)
    step = Compressor(strategy="pair-score", backend=model).as_step()
    with pytest.raises(InputError, match=NO_PLACE):
        step.invoke({"query": "q", "documents": [Text("a")], "instruction": TOLD})
    with pytest.raises(InputError, match="instruction is ' '"):
        Compressor(strategy="pointwise", backend=model, instruction=" ")
