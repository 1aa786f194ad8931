"""Components that an earlier version stored load, and are stored again with the same content."""

import json
from pathlib import Path

import llama_index.postprocessor.rerank_plugins as postprocessors
import pytest
import yaml
from haystack import Pipeline

from rerank_plugins.strategies import (
    FullList,
    Groupwise,
    Hybrid,
    Permutation,
    PointwiseGrade,
    SingleToken,
    SlidingWindow,
)

# Arguments that are newer than the stored files, with their defaults.
ADDED = {"scale_score": False, "base_url": None}
ADDED |= {"cut_at_gap": False, "keep_at_least": 0, "chunk_words": None}
OF_RETRIEVER = {"expand": "query", "neighbours": 16, "window": 20}
OF_PLUGIN, OF_FULL_LIST = {"base": None}, {"allow_none": False}
STORED = Path(__file__).parent / "stored"
STRATEGIES = {
    "First": SlidingWindow(inner=SingleToken(policy="ask_again"), size=5, stride=2),
    "FullList": FullList(read="constrained", top_m=4),
    "Groupwise": Groupwise(size=8, interval=4, repeats=2, weight=0.5),
    "Pointwise": Hybrid(PointwiseGrade(expectation=True), alpha=0.3),
    "Plugin": SlidingWindow(inner=Permutation(), size=6, stride=3),
}


def own(component):
    """The type and the arguments of a stored component without those of the framework's parts."""
    values = component["init_parameters"].items()
    parts = {k for k, v in values if isinstance(v, dict) and "." in str(v.get("type"))}
    return component["type"], {k: v for k, v in values if k not in parts}, parts


@pytest.mark.parametrize("path", sorted(STORED.glob("*.yaml")), ids=lambda path: path.stem)
def test_haystack_components_load_and_are_stored_as_before(path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    text = path.read_text("utf-8")
    pipeline = Pipeline.loads(text)
    before, after = (yaml.safe_load(t)["components"]["it"] for t in (text, pipeline.dumps()))
    kind, arguments, parts = own(before)
    added = ADDED | {"api_key": None} if kind.endswith("Ranker") else {}
    added |= OF_PLUGIN if kind.endswith("PluginRanker") else {}
    added |= OF_FULL_LIST if kind.endswith("FullListRanker") else {}
    added |= OF_RETRIEVER if kind.endswith("FeedbackRetriever") else {}
    assert own(after) == (kind, added | arguments, parts)
    if (expected := STRATEGIES.get(path.stem.removesuffix("Ranker"))) is not None:
        assert pipeline.get_component("it")._reranker.strategy == expected


@pytest.mark.parametrize("path", sorted(STORED.glob("*.json")), ids=lambda path: path.stem)
def test_llama_index_components_load_and_are_stored_as_before(path):
    text = path.read_text("utf-8")
    cls = getattr(postprocessors, json.loads(text)["class_name"])
    reranker = cls.from_json(text)
    newer = OF_PLUGIN | {"instruction": None}
    added = ADDED | (newer if cls is postprocessors.PluginRerank else {})
    added |= OF_FULL_LIST if cls is postprocessors.FullListRerank else {}
    assert json.loads(reranker.to_json()) == added | json.loads(text)
    if (expected := STRATEGIES.get(path.stem.removesuffix("Rerank"))) is not None:
        assert reranker._reranker.strategy == expected


def test_every_component_is_stored():
    names = {path.stem.partition("-")[0] for path in STORED.iterdir()}
    postprocessor_names = {n for n in postprocessors.__all__ if n.endswith("Rerank")}
    rankers = {n.replace("Rerank", "Ranker") for n in postprocessor_names}
    assert names == postprocessor_names | rankers | {"QueryFeedback", "FeedbackRetriever"}
