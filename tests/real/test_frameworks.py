"""Both frameworks on a real model: the core's rankings, and YAML in a stranger's process."""

import asyncio
import json
import subprocess
import sys

import pytest
from haystack import Document, Pipeline
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker, PluginRanker
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rerank_plugins import FirstRerank

from rerank_plugins import Reranker
from rerank_plugins.strategies import SingleToken, SlidingWindow

QUERY = "how long does a flea live?"
TEXTS = [
    "Wolves live in packs and hunt together.",
    "A flea lives for two to three months, and up to a year in comfort.",
    "The flea pupa stays in its cocoon for a week or for a year.",
    "Shares fell on Monday.",
    "A cat sleeps up to sixteen hours a day.",
]

# Imports Haystack and nothing of this project; prints ids and scores.
STRANGER = """
import json, sys
from haystack import Document, Pipeline
assert not any("rerank_plugins" in name for name in sys.modules)
given = json.load(sys.stdin)
pipeline = Pipeline.loads(given["yaml"])
documents = [Document(id=str(i), content=text) for i, text in enumerate(given["texts"])]
result = pipeline.run({"ranker": {"query": given["query"], "documents": documents}})
json.dump([[d.id, d.score] for d in result["ranker"]["documents"]], sys.stdout)
"""


def documents():
    return [Document(id=str(i), content=text) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("size", [3, 20])
def test_both_frameworks_give_the_cores_ranking(smollm2, size):
    core = Reranker(SlidingWindow(inner=SingleToken(), size=size, stride=size // 2), smollm2).rank(
        QUERY, TEXTS
    )
    expected = [(str(i), s) for i, s in zip(core.order, core.scores, strict=True)]
    options = {"backend": smollm2, "window": size, "stride": size // 2}
    pipeline = Pipeline()
    pipeline.add_component("ranker", FirstRanker(**options))
    data = {"ranker": {"query": QUERY, "documents": documents()}}
    for result in (pipeline.run(data), asyncio.run(pipeline.run_async(data))):
        found = result["ranker"]
        assert [(d.id, d.score) for d in found["documents"]] == expected
        assert found["meta"]["usage"]["calls"] == core.usage.calls
        assert found["meta"]["usage"]["prompt_tokens"] == core.usage.prompt_tokens
    nodes = [NodeWithScore(node=TextNode(text=t, id_=str(i))) for i, t in enumerate(TEXTS)]
    reranker = FirstRerank(**options)
    for found in (
        reranker.postprocess_nodes(nodes, query_str=QUERY),
        asyncio.run(reranker.apostprocess_nodes(nodes, query_str=QUERY)),
    ):
        assert [(n.node.node_id, n.score) for n in found] == expected


def test_yaml_ranks_the_same_in_a_process_that_never_imported_this(smollm2_folder):
    ranker = PluginRanker(
        strategy=SlidingWindow(inner=SingleToken(), size=3, stride=1),
        model=str(smollm2_folder),
        meta_fields_to_embed=["title"],
        top_k=4,
    )
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    here = pipeline.run({"ranker": {"query": QUERY, "documents": documents()}})
    given = {"yaml": pipeline.dumps(), "texts": TEXTS, "query": QUERY}
    there = subprocess.run(
        [sys.executable, "-W", "error", "-c", STRANGER],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 0, there.stderr
    expected = [[d.id, d.score] for d in here["ranker"]["documents"]]
    assert json.loads(there.stdout.splitlines()[-1]) == expected
