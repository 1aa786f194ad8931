"""Parts that cannot serve in a feedback retriever are refused when they are given."""

import pytest
from haystack import Document, component
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.components.rankers import LostInTheMiddleRanker
from haystack.components.retrievers.in_memory import (
    InMemoryBM25Retriever,
    InMemoryEmbeddingRetriever,
)
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from haystack_integrations.components.retrievers.rerank_plugins import (
    FeedbackRetriever,
    QueryFeedback,
)
from llama_index.core import MockEmbedding, SummaryIndex, TreeIndex, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.keyword_table import SimpleKeywordTableIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import PluginRerank
from llama_index.retrievers.rerank_plugins import FeedbackRetriever as NodeFeedbackRetriever

from rerank_plugins import InputError, RerankError, UnknownNameError
from rerank_plugins.testing import Oracle

NODES = [TextNode(text=text) for text in ("a flea", "a dog")]


def retriever():
    return InMemoryEmbeddingRetriever(InMemoryDocumentStore())


def ranker():
    return PluginRanker(strategy="pair-score", backend=Oracle())


@component
class Anything:
    """A part that takes whatever it is given."""

    @component.output_types(documents=list[Document])
    def run(self, **inputs):
        return {"documents": []}


REFUSED = [
    ("retriever", InMemoryEmbeddingRetriever, "a method run"),
    ("retriever", None, "a method run"),
    ("retriever", MockTextEmbedder(dimension=2), "no query_embedding"),
    ("ranker", LostInTheMiddleRanker(), "no query"),
    ("ranker", InMemoryBM25Retriever(InMemoryDocumentStore()), "no documents"),
    ("ranker", 5, "a method run"),
    ("text_embedder", MockDocumentEmbedder(dimension=2), "no text"),
    ("document_embedder", MockTextEmbedder(dimension=2), "no documents"),
    ("top_k", 0, "must be > 0"),
    ("return_embedding", "yes", "True or False"),
]


@pytest.mark.parametrize(("name", "part", "says"), REFUSED)
def test_haystack_refuses_a_part_when_it_is_given_or_assigned(name, part, says):
    parts = {"retriever": retriever(), "ranker": ranker()}
    with pytest.raises(InputError, match=f"(?s){name}.*{says}"):
        FeedbackRetriever(**parts | {name: part})
    made = FeedbackRetriever(**parts)
    before = getattr(made, name)
    with pytest.raises(InputError, match=f"(?s){name}.*{says}"):
        setattr(made, name, part)
    assert getattr(made, name) is before


def test_haystack_takes_parts_that_take_anything():
    made = FeedbackRetriever(retriever=Anything(), ranker=Anything())
    assert made.run(query="q", query_embedding=[1.0])["documents"] == []


def test_what_would_be_ignored_cannot_be_assigned():
    made = FeedbackRetriever(retriever=retriever(), ranker=ranker())
    fixed = ("depth", "search_k", "method", "rounds", "fuse", "head", "expand", "neighbours")
    for name in (*fixed, "window", "raise_on_failure"):
        with pytest.raises(InputError, match=f"{name} cannot be changed"):
            setattr(made, name, 3)


def test_query_feedback_checks_its_parts():
    made = QueryFeedback()
    for name, value in (("document_embedder", MockTextEmbedder(dimension=2)), ("method", "best")):
        with pytest.raises(RerankError, match=r"documents|best"):
            QueryFeedback(**{name: value})
        with pytest.raises(RerankError, match=r"documents|best"):
            setattr(made, name, value)
    made.method = "bold"
    found = made.run(query_embedding=[1.0, 0.0], documents=iter(()), candidates=iter(()))
    assert found["query_embedding"] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: SimpleKeywordTableIndex(NODES, llm=MockLLM()).as_retriever(),
            "does not search by vectors",
        ),
        (lambda: SummaryIndex(NODES).as_retriever(), "does not search by vectors"),
        (lambda: TreeIndex(NODES, llm=MockLLM()).as_retriever(), "does not search by vectors"),
        (lambda: VectorStoreIndex(NODES, embed_model=MockEmbedding(2)), "expected a BaseRetriever"),
        (lambda: BaseRetriever, "expected a BaseRetriever"),
    ],
)
def test_llama_index_refuses_a_retriever_when_it_is_given(build, says):
    reranker = PluginRerank(strategy="pair-score", backend=Oracle())
    with pytest.raises(InputError, match=says):
        NodeFeedbackRetriever(build(), reranker)


def test_llama_index_takes_what_searches_by_vectors():
    reranker = PluginRerank(strategy="pair-score", backend=Oracle())
    index = VectorStoreIndex(NODES, embed_model=MockEmbedding(2))
    by_vectors = SummaryIndex(NODES).as_retriever(
        retriever_mode="embedding", embed_model=MockEmbedding(2)
    )
    for one in (index.as_retriever(similarity_top_k=20), by_vectors):
        assert NodeFeedbackRetriever(one, reranker)
    with pytest.raises(InputError, match="expected a BaseNodePostprocessor"):
        NodeFeedbackRetriever(index.as_retriever(), 5)
    with pytest.raises(UnknownNameError, match="is a strategy, not a model"):
        NodeFeedbackRetriever(index.as_retriever(), "pair-score")
    with pytest.raises(InputError, match="expected a BaseEmbedding"):
        NodeFeedbackRetriever(index.as_retriever(), reranker, embed_model="local")


class Lexical(BaseRetriever):
    """A retriever of somebody's own, which cannot be recognised: by words, or by vectors."""

    similarity_top_k = 20

    def __init__(self, by_vectors):
        super().__init__()
        self.by_vectors = by_vectors

    def _retrieve(self, query_bundle):
        vector = query_bundle.embedding if self.by_vectors else [1.0, 0.0]
        nodes = [TextNode(id_=str(i), text=f"{i}", embedding=[1.0, 0.1 * i]) for i in range(20)]
        scored = [
            NodeWithScore(node=n, score=vector[0] + vector[1] * n.embedding[1]) for n in nodes
        ]
        return sorted(scored, key=lambda n: -n.score)


@pytest.mark.parametrize("by_vectors", [False, True])
def test_a_retriever_that_ignores_the_embedding_is_named_once(caplog, by_vectors):
    model = Oracle(key=lambda query, passage: float(passage))
    reranker = PluginRerank(strategy="pair-score", backend=model)
    retriever = NodeFeedbackRetriever(Lexical(by_vectors), reranker, method="bold", depth=5)
    for _ in range(2):
        assert retriever.retrieve(QueryBundle("q", embedding=[1.0, 0.2]))
    found = [r.getMessage() for r in caplog.records if "Lexical found the same" in r.getMessage()]
    assert len(found) == (0 if by_vectors else 1)
