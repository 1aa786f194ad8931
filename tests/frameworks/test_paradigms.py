"""The full-list, groupwise and pointwise components of both frameworks, through real pipelines."""

import asyncio
import re

import pytest

haystack = pytest.importorskip("haystack")
pytest.importorskip("llama_index.core")

from haystack import Document, Pipeline  # noqa: E402
from haystack_integrations.components.rankers.rerank_plugins import (  # noqa: E402
    FirstRanker,
    FullListRanker,
    GroupwiseRanker,
    PluginRanker,
    PointwiseRanker,
)
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode  # noqa: E402
from llama_index.postprocessor.rerank_plugins import (  # noqa: E402
    FirstRerank,
    FullListRerank,
    GroupwiseRerank,
    PluginRerank,
    PointwiseRerank,
)

from rerank_plugins import InputError, UnknownNameError  # noqa: E402
from rerank_plugins.strategies import (  # noqa: E402
    FullList,
    Groupwise,
    Hybrid,
    PairScore,
    Pointwise,
    PointwiseGrade,
    SlidingWindow,
)
from rerank_plugins.testing import Babbling, Failing, Oracle, Scripted  # noqa: E402

TEXTS = [f"passage {i}" for i in range(30)]
BEST = [f"passage {i}" for i in (29, 28, 27, 26, 25)]


def oracle():
    """Later passages are better; grades tell the best eleven apart."""
    return Oracle(
        key=lambda query, passage: float(passage.split()[-1]) / 30,
        grade=lambda key: max(0, round(30 * key) - 19),
    )


HAYSTACK = [
    lambda **k: FullListRanker(**k),
    lambda **k: FullListRanker(read="constrained", **k),
    lambda **k: FullListRanker(read="single-token", **k),
    lambda **k: GroupwiseRanker(weight=1.0, **k),
    lambda **k: PointwiseRanker(**k),
    lambda **k: PointwiseRanker(prompt="erank.v1", **k),
    lambda **k: PluginRanker(preset="cross-encoder/ms-marco-MiniLM-L6-v2", **k),
    lambda **k: PluginRanker(preset="liuwenhan/reasonrank-7B", **k),
]
LLAMA = [
    lambda **k: FullListRerank(**k),
    lambda **k: FullListRerank(read="constrained", **k),
    lambda **k: FullListRerank(read="single-token", **k),
    lambda **k: GroupwiseRerank(weight=1.0, **k),
    lambda **k: PointwiseRerank(**k),
    lambda **k: PointwiseRerank(prompt="erank.v1", **k),
    lambda **k: PluginRerank(preset="cross-encoder/ms-marco-MiniLM-L6-v2", **k),
    lambda **k: PluginRerank(preset="liuwenhan/reasonrank-7B", **k),
]


def named(build):
    """A component with the model that it asks for, where it has none of its own."""
    try:
        return build()
    except InputError as error:
        return build(model=re.search("model='(.*?)'", str(error))[1])


def documents():
    return [Document(content=text, score=1.0 - i / 30) for i, text in enumerate(TEXTS)]


def nodes():
    return [NodeWithScore(node=TextNode(text=t), score=1.0 - i / 30) for i, t in enumerate(TEXTS)]


@pytest.mark.parametrize("build", HAYSTACK)
def test_every_haystack_ranker_finds_the_best_in_a_pipeline(build):
    data = {"ranker": {"query": "q", "documents": documents()}}
    pipeline = Pipeline()
    pipeline.add_component("ranker", build(backend=oracle(), top_k=5))
    found = pipeline.run(data)["ranker"]
    assert [d.content for d in found["documents"]] == BEST
    assert not found["meta"]["fallback"]
    on_loop = Pipeline()
    on_loop.add_component("ranker", build(backend=oracle(), top_k=5))
    assert asyncio.run(on_loop.run_async(data))["ranker"]["documents"] == found["documents"]


@pytest.mark.parametrize("build", LLAMA)
def test_every_llama_index_postprocessor_finds_the_best(build):
    reranker = build(backend=oracle(), top_n=5)
    found = reranker.postprocess_nodes(nodes(), query_str="q")
    assert [n.get_content() for n in found] == BEST
    again = asyncio.run(reranker.apostprocess_nodes(nodes(), query_bundle=QueryBundle("q")))
    assert [(n.get_content(), n.score) for n in again] == [
        (n.get_content(), n.score) for n in found
    ]


@pytest.mark.parametrize("build", HAYSTACK)
def test_every_haystack_ranker_comes_back_from_yaml(build):
    pipeline = Pipeline()
    pipeline.add_component("ranker", named(build))  # not loaded before it is needed
    again = Pipeline.loads(pipeline.dumps())
    assert again.dumps() == pipeline.dumps()
    original, loaded = pipeline.get_component("ranker"), again.get_component("ranker")
    assert loaded._reranker.strategy == original._reranker.strategy


@pytest.mark.parametrize("build", LLAMA)
def test_every_postprocessor_comes_back_from_json(build):
    original = named(build)
    again = type(original).from_json(original.to_json())
    assert again._reranker.strategy == original._reranker.strategy


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("build", HAYSTACK[:6])
def test_babble_loses_no_document(build, seed, caplog):
    found = build(backend=Babbling(seed), top_k=None).run(query="q", documents=documents())
    assert sorted(d.content for d in found["documents"]) == sorted(TEXTS)
    repairs = found["meta"]["repairs"]
    assert found["meta"]["causes"] or any(repairs.values())
    assert caplog.records


def strategy_of(component):
    return component._reranker.strategy


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen3-Reranker-4B", Pointwise()),
        ("castorini/monot5-base-msmarco", Pointwise(prompt="monot5.v1")),
        ("Alibaba-NLP/ERank-4B", PointwiseGrade(max_tokens=4096)),
        ("BAAI/bge-reranker-v2-m3", PairScore()),
        ("cross-encoder/ms-marco-MiniLM-L-6-v2", PairScore()),
        ("some/other-model", Pointwise(prompt="yes-no.v1")),
    ],
)
def test_the_model_decides_how_a_pointwise_ranker_scores(model, expected):
    assert strategy_of(PointwiseRanker(model=model)) == expected
    assert strategy_of(PointwiseRerank(model=model)) == expected
    assert strategy_of(PointwiseRanker(model=model, hybrid=0.2)) == Hybrid(expected, alpha=0.2)


@pytest.mark.parametrize(
    ("component", "says"),
    [
        (FirstRanker, r"castorini/first_mistral \(7\.2 billion weights, 14\.5 GB in 16 bits\)"),
        (FullListRanker, r"liuwenhan/RankMistral100 \(7\.2 billion weights"),
        (GroupwiseRanker, r"AQ-MedAI/Diver-GroupRank-7B \(7\.6 billion weights"),
        (PointwiseRanker, r"Qwen/Qwen3-Reranker-0\.6B \(596 million weights, 1\.2 GB in 16 bits"),
        (FirstRerank, r"castorini/first_mistral \(7\.2 billion weights"),
        (FullListRerank, r"liuwenhan/RankMistral100 \(7\.2 billion weights"),
        (GroupwiseRerank, r"AQ-MedAI/Diver-GroupRank-7B \(7\.6 billion weights"),
        (PointwiseRerank, r"Qwen/Qwen3-Reranker-0\.6B \(596 million weights"),
    ],
)
def test_no_large_model_is_downloaded_unasked(component, says):
    refused = rf"{component.__name__} without a model would download {says}.*give model='"
    with pytest.raises(InputError, match=refused):
        component()


def test_the_papers_checkpoints_are_one_name():
    full, group = FullListRanker("RankMistral100"), GroupwiseRanker("Diver-GroupRank-7B")
    assert full._model == "liuwenhan/RankMistral100"
    assert strategy_of(full) == FullList(top_m=10)  # a pipeline needs its top_k and no more
    assert strategy_of(group).sampling.temperature == 0.3
    assert isinstance(strategy_of(group), Groupwise)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: FullListRanker(model="castorini/first_mistral"), InputError),
        (lambda: FullListRanker(read="aloud"), InputError),
        (lambda: FullListRanker(read="single-token", top_m=3), InputError),
        (lambda: FullListRerank(top_m=0), InputError),
        (lambda: GroupwiseRanker(model="Qwen/Qwen3-Reranker-4B"), InputError),
        (lambda: GroupwiseRanker(weight=2.0), InputError),
        (lambda: GroupwiseRanker(interval=30), InputError),
        (lambda: PointwiseRanker(model="liuwenhan/RankMistral100"), InputError),
        (lambda: PointwiseRanker(model="BAAI/bge-reranker-base", instruction="x"), InputError),
        (lambda: PointwiseRanker(expectation=True), InputError),
        (lambda: PointwiseRanker(hybrid=-1.0), InputError),
        (lambda: PluginRanker(preset="no/such"), UnknownNameError),
        (lambda: PointwiseRerank(hybrid=2.0), InputError),
        (lambda: FullListRerank(read="aloud"), InputError),
        (lambda: GroupwiseRerank(repeats=0), InputError),
        (lambda: PluginRerank(preset="no/such"), UnknownNameError),
    ],
)
def test_wrong_arguments_are_refused_at_once(build, error):
    with pytest.raises(error):
        build()


def test_a_preset_beside_a_model_says_what_that_is_a_copy_of():
    ranker = PluginRanker(model="my/folder", preset="castorini/first_mistral")
    assert isinstance(strategy_of(ranker), SlidingWindow)
    assert ranker._model == "my/folder"
    assert ranker._reranker.backend.inner.context_tokens == 4096


@pytest.mark.parametrize("build", [PointwiseRanker, PointwiseRerank])
def test_the_default_s_mix_is_said_by_hybrid(build):
    model = "rerank-plugins/minilm-cross-encoder"
    assert strategy_of(build(model=model)) == PairScore()
    assert strategy_of(build(model=model, hybrid=0.3)) == Hybrid(PairScore(), alpha=0.3)


def test_the_default_keeps_documents_where_they_are_when_it_fails():
    given = [Document(content=f"text {i}", score=s) for i, s in enumerate((0.2, 0.9, 0.5))]
    ranker = PluginRanker(
        strategy={"name": "hybrid", "places": False, "inner": "pair-score"}, backend=Failing()
    )
    found = ranker.run(query="q", documents=given)["documents"]
    assert [(d.content, d.score) for d in found] == [(d.content, d.score) for d in given]


def test_hybrid_uses_the_documents_own_scores():
    """Two documents swap: the retriever is far surer of one than the model is of the other."""
    given = [Document(content="a", score=0.9), Document(content="b", score=0.1)]
    near = Oracle(key=lambda query, passage: {"a": 0.50, "b": 0.51}[passage])
    model = PointwiseRanker(backend=near).run(query="q", documents=given)["documents"]
    mixed = PointwiseRanker(backend=near, hybrid=0.6).run(query="q", documents=given)["documents"]
    assert [d.content for d in model] == ["b", "a"]
    assert [d.content for d in mixed] == ["a", "b"]


def test_prompts_can_be_looked_at_and_changed():
    reranker = PointwiseRerank(backend=oracle())
    [place] = reranker.get_prompts()
    from llama_index.core.prompts import PromptTemplate

    reranker.update_prompts({place: PromptTemplate("{query} | {passage} | relevant?")})
    assert reranker._reranker.strategy.prompt.user == "{query} | {passage} | relevant?"
    assert reranker._reranker.strategy.prompt.labels == ("Yes", "No")


FIVE = [f"passage {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("own", "asked", "calls"), [(3, 5, 4), (3, None, 3), (3, 2, 3), (2, 3, 3), (None, 2, 4)]
)
def test_a_full_list_orders_the_larger_of_both_numbers(own, asked, calls):
    """One call of a constrained order for each place, and none for the last of five."""
    ranker = FullListRanker(backend=oracle(), read="constrained", top_k=own)
    documents = [Document(content=text) for text in FIVE]
    for found in (
        ranker.run(query="q", documents=documents, top_k=asked),
        asyncio.run(ranker.run_async(query="q", documents=documents, top_k=asked)),
    ):
        returned = [d.content for d in found["documents"]]
        assert returned == FIVE[::-1][: asked or own]
        assert found["meta"]["usage"]["calls"] == calls


@pytest.mark.parametrize("top_n", [5, None])
def test_a_full_list_orders_as_many_nodes_as_were_assigned(top_n):
    reranker = FullListRerank(backend=oracle(), top_n=3)
    reranker.top_n = top_n
    given = [NodeWithScore(node=TextNode(text=text)) for text in FIVE]
    found = reranker.postprocess_nodes(given, query_str="q")
    assert [n.get_content() for n in found] == FIVE[::-1]


@pytest.mark.parametrize("build", [FullListRanker, FullListRerank])
def test_top_m_is_what_the_caller_says(build):
    model = oracle()
    component = build(backend=model, read="constrained", top_m=1)
    if build is FullListRanker:
        component.run(query="q", documents=[Document(content=t) for t in FIVE], top_k=5)
    else:
        given = [NodeWithScore(node=TextNode(text=text)) for text in FIVE]
        component.postprocess_nodes(given, query_str="q")
    assert len(model.asked) == 1


WINDOWS = {
    "name": "sliding-window",
    "inner": {"name": "permutation", "allow_none": True},
    "size": 3,
    "stride": 1,
}


@pytest.mark.parametrize("on_loop", [False, True])
@pytest.mark.parametrize(
    ("options", "answers", "left", "expected"),
    [
        ({"allow_none": True}, ["none"], 3, []),
        ({"allow_none": True}, ["[2]"], 0, [1, 0, 2]),
        ({"allow_none": True}, ["no idea"], 0, [0, 1, 2]),  # a failure, and no decision
        ({}, ["none"], 0, [0, 1, 2]),
        ({"strategy": WINDOWS}, ["None of the passages is relevant."], 3, []),
        ({"strategy": WINDOWS}, ["[]", "[3] > [1] > [2]"], 1, [2, 0, 1]),
    ],
)
def test_the_model_may_say_that_none_is_relevant(options, answers, left, expected, on_loop):
    """The last case has four passages; the fourth is in the first window alone."""
    texts = [f"passage {i}" for i in range(2 + len(answers))]
    haystack_ranker = PluginRanker if "strategy" in options else FullListRanker
    ranker = haystack_ranker(backend=Scripted(answers), **options)
    given = {"query": "q", "documents": [Document(content=text) for text in texts]}
    found = asyncio.run(ranker.run_async(**given)) if on_loop else ranker.run(**given)
    places = [texts.index(d.content) for d in found["documents"]]
    assert found["meta"]["irrelevant"] == left
    assert found["meta"]["fallback"] == ("no idea" in answers or not options)
    llama_index_reranker = PluginRerank if "strategy" in options else FullListRerank
    reranker = llama_index_reranker(backend=Scripted(answers), **options)
    nodes, bundle = [NodeWithScore(node=TextNode(text=text)) for text in texts], QueryBundle("q")
    if on_loop:
        kept, meta = asyncio.run(reranker.aranked(nodes, bundle))
    else:
        kept, meta = reranker.ranked(nodes, bundle)
    assert [texts.index(node.get_content()) for node in kept] == places
    assert (meta["irrelevant"], meta["fallback"]) == (left, found["meta"]["fallback"])
    assert places == expected
