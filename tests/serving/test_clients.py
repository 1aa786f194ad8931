"""Clients written by others, against a real server."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rerank_service import (
    DOCUMENTS,
    KEY,
    by_length,
    running,
)

from rerank_plugins import BackendError, Reranker, load_reranker
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle


def test_the_cohere_client(url):
    cohere = pytest.importorskip("cohere")
    for kind in (cohere.ClientV2, cohere.Client):
        with kind("a key", base_url=url) as client:
            found = client.rerank(model="rerank-v3.5", query="flea", documents=DOCUMENTS, top_n=2)
        assert [r.index for r in found.results] == [1, 2]
        assert found.results[0].relevance_score >= found.results[1].relevance_score


def test_the_cohere_client_shows_why_it_was_refused():
    cohere = pytest.importorskip("cohere")
    with running(by_length(), api_key=KEY) as locked:
        refused = pytest.raises(cohere.UnauthorizedError, match="the API key is missing or wrong")
        with cohere.ClientV2("another key", base_url=locked) as client, refused:
            client.rerank(model="reranker", query="flea", documents=DOCUMENTS)
    with running(by_length(), strict=True) as strict:
        refused = pytest.raises(cohere.NotFoundError, match="no model of that name")
        with cohere.ClientV2(KEY, base_url=strict) as client, refused:
            client.rerank(model="rerank-v3.5", query="flea", documents=DOCUMENTS)


def test_haystacks_cohere_ranker(url, monkeypatch):
    cohere = pytest.importorskip("haystack_integrations.components.rankers.cohere")
    from haystack import Document, Pipeline

    monkeypatch.setenv("COHERE_API_KEY", "a key")
    ranker = cohere.CohereRanker(top_k=2, api_base_url=url)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    pipeline.warm_up()
    documents = [Document(content=text) for text in DOCUMENTS]
    with ranker._cohere_client:  # which it never closes
        found = pipeline.run({"ranker": {"query": "flea", "documents": documents}})
    assert [d.content for d in found["ranker"]["documents"]] == [DOCUMENTS[1], DOCUMENTS[2]]


@pytest.mark.parametrize("kind", ["cohere", "jina"])
def test_llama_indexs_postprocessors(url, kind):
    from llama_index.core.schema import NodeWithScore, TextNode

    if kind == "cohere":
        found = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
        reranker = found.CohereRerank(2, "rerank-v3.5", api_key="a key", base_url=url)
        opened = reranker._client  # which it never closes
    else:
        found = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
        reranker = found.JinaRerank(2, "reranker", api_key="a key", base_url=f"{url}/v1")
        opened = reranker._session
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    with opened:
        ranked = reranker.postprocess_nodes(nodes, query_str="flea")
    assert [n.node.text for n in ranked] == [DOCUMENTS[1], DOCUMENTS[2]]


@pytest.fixture(scope="module")
def failing():
    broken = Failing(lambda: BackendError("out of memory"))
    with running(Reranker(PairScore(), broken, on_error="keep_order")) as found:
        yield found


def test_the_cohere_client_gets_no_score_of_what_no_model_read(failing):
    cohere = pytest.importorskip("cohere")
    for kind in (cohere.ClientV2, cohere.Client):
        with kind("a key", base_url=failing) as client:
            found = client.rerank(model="reranker", query="flea", documents=DOCUMENTS)
        assert [(r.index, r.relevance_score) for r in found.results] == [
            (0, None),
            (1, None),
            (2, None),
        ]


def test_haystacks_cohere_ranker_gets_no_score_of_what_no_model_read(failing, monkeypatch):
    cohere = pytest.importorskip("haystack_integrations.components.rankers.cohere")
    from haystack import Document

    monkeypatch.setenv("COHERE_API_KEY", "a key")
    ranker = cohere.CohereRanker(model="reranker", top_k=2, api_base_url=failing)
    ranker.warm_up()
    with ranker._cohere_client:
        found = ranker.run("flea", [Document(content=text, score=0.9) for text in DOCUMENTS])
    assert [(d.content, d.score) for d in found["documents"]] == [
        (text, None) for text in DOCUMENTS[:2]
    ]


@pytest.mark.parametrize("kind", ["cohere", "jina"])
def test_llama_indexs_postprocessors_get_no_score_of_what_no_model_read(failing, kind):
    from llama_index.core.postprocessor import SimilarityPostprocessor
    from llama_index.core.schema import NodeWithScore, TextNode

    if kind == "cohere":
        found = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
        reranker = found.CohereRerank(2, "reranker", api_key="a key", base_url=failing)
        opened = reranker._client
    else:
        found = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
        reranker = found.JinaRerank(2, "reranker", api_key="a key", base_url=f"{failing}/v1")
        opened = reranker._session
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.9) for text in DOCUMENTS]
    with opened:
        ranked = reranker.postprocess_nodes(nodes, query_str="flea")
    assert [(n.node.text, n.score) for n in ranked] == [(text, None) for text in DOCUMENTS[:2]]
    assert SimilarityPostprocessor(similarity_cutoff=0.1).postprocess_nodes(ranked) == []


def test_a_pair_that_fails_costs_the_clients_one_score():
    """The others keep theirs, in Cohere's client and in this library's own."""
    cohere = pytest.importorskip("cohere")
    from rerank_plugins.backends import OpenAIBackend

    one = Failing(when=lambda call: call.passage == DOCUMENTS[1], otherwise=Oracle())
    with running(Reranker(PairScore(), one, on_error="keep_order")) as url:
        with cohere.ClientV2("a key", base_url=url) as client:
            found = client.rerank(model="reranker", query="flea", documents=DOCUMENTS)
        backend = OpenAIBackend("reranker", base_url=f"{url}/v1", pair_unit="probability")
        own = Reranker(PairScore(), backend, on_error="keep_order").rank("flea", DOCUMENTS)
        backend.close()
    assert {r.index for r in found.results if r.relevance_score is None} == {1}
    assert found.results[1].index == 1  # at its place
    assert own.order[1] == 1
    assert own.report.unread == {1}


def test_our_own_client_is_told_that_no_model_read_a_passage(failing):
    from rerank_plugins.backends import OpenAIBackend

    backend = OpenAIBackend("reranker", base_url=f"{failing}/v1", pair_unit="probability")
    with pytest.raises(BackendError, match="left out the score of a passage"):
        Reranker(PairScore(), backend).rank("flea", DOCUMENTS)
    backend.close()


def test_our_own_client(url):
    from rerank_plugins.backends import OpenAIBackend

    reranker = Reranker(PairScore(), OpenAIBackend("reranker", base_url=f"{url}/v1"))
    assert reranker.rank("flea", DOCUMENTS).order == (1, 2, 0)
    reranker.close()


@pytest.mark.parametrize("name", ["any-name", "first_mistral"])
def test_our_own_client_by_the_address_alone(name):
    """Whatever the model is called there, it reranks: a checkpoint's name is no other question."""
    with running(by_length(), model=name) as url:
        reranker = load_reranker(f"{url}/v1")
        assert reranker.rank("flea", DOCUMENTS).order == (1, 2, 0)
        assert load_reranker(f"{url}/v1", strategy="first").strategy != reranker.strategy
        reranker.close()


def test_the_documented_curl(url):
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    [command] = re.findall(r"^    curl .*?'$", page, flags=re.DOTALL | re.MULTILINE)
    command = command.replace("localhost:8000", url.removeprefix("http://"))
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=30)
    assert [r["index"] for r in json.loads(done.stdout)["results"]] == [1]
