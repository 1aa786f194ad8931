"""Feedback between a framework's parts: plans, rankings of foreign rerankers, refinements."""

import asyncio
import math
from dataclasses import asdict

import numpy as np
import pytest

from rerank_plugins import BackendError, ConfigurationError, InputError, Ranking, Usage
from rerank_plugins.calls import Hit, Search
from rerank_plugins.components.feedback import (
    EmbedQuery,
    FetchVectors,
    PartsBackend,
    RankHits,
    conclude_feedback,
    feedback_options,
    ranking_of,
    refine_from_items,
    results_of,
    retrieve_with_feedback,
)
from rerank_plugins.feedback import refine_query

VECTORS = np.random.default_rng(4).normal(size=(60, 6))
WANTED = VECTORS @ (VECTORS[0] + VECTORS[1])


class Parts(PartsBackend):
    """An index without vectors in its hits, a reranker and an embedder."""

    def __init__(self):
        self.asked = []

    def answer(self, call):
        self.asked.append(type(call))
        match call:
            case EmbedQuery(query=query):
                if query == "broken":
                    raise RuntimeError("no such model")
                return VECTORS[0].tolist()
            case Search(vector=vector, k=k):
                order = np.argsort(-(VECTORS @ np.asarray(vector)), kind="stable")[:k]
                return tuple(Hit(str(i), f"passage {i}") for i in order)
            case RankHits(hits=hits):
                order = sorted(range(len(hits)), key=lambda i: -WANTED[int(hits[i].id)])
                scores = tuple(float(WANTED[int(hits[i].id)]) for i in order)
                return Ranking(tuple(order), scores, "logit", usage=Usage(calls=len(hits)))
            case FetchVectors(hits=hits):
                return [VECTORS[int(hit.id)].tolist() for hit in hits]
        raise ConfigurationError("unknown")

    async def aanswer(self, call):
        return self.answer(call)


def options(**changes):
    given = {"search_k": 20, "depth": None, "top_k": 5, "raise_on_failure": False}
    return feedback_options(**{**given, **changes})


def test_the_parts_are_asked_in_turn():
    parts = Parts()
    plan = retrieve_with_feedback("q", None, options(), embeds=True)
    found = parts.runner.run(plan)
    assert parts.asked == [EmbedQuery, Search, RankHits, FetchVectors, Search, RankHits]
    assert found.skipped == ""
    assert found.usage.searches == 2
    assert found.usage.calls == len(found.hits)  # the reranker's own, each hit once
    outcome = conclude_feedback(found, 5)
    assert [score for _, score in outcome.lines] == sorted(
        (float(WANTED[int(hit.id)]) for hit in found.hits), reverse=True
    )[:5]
    assert outcome.meta["score_kind"] == "logit"
    assert outcome.warning == ""


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_error_costs_its_own_query(mode):
    parts = Parts()
    plans = [retrieve_with_feedback(q, None, options(), embeds=True) for q in ("q", "broken")]
    good, bad = (
        parts.runner.settle_many(plans)
        if mode == "sync"
        else asyncio.run(parts.runner.asettle_many(plans))
    )
    assert good.skipped == ""
    assert isinstance(bad, BackendError)
    assert "no such model" in str(bad)
    with pytest.raises(BackendError):
        results_of([good, bad])


def test_a_wrong_set_up_is_raised():
    with pytest.raises(ConfigurationError, match="unknown"):
        Parts().run([object()])


def test_without_vectors_feedback_is_skipped():
    found = Parts().runner.run(retrieve_with_feedback("q", None, options(), embeds=False))
    assert found.failed
    assert "vector" in found.skipped
    assert conclude_feedback(found, 5).warning.startswith("feedback was skipped: ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"search_k": 0}, "search_k must be > 0"),
        ({"top_k": 0}, "top_k must be > 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"fuse": "sum"}, "fuse is 'sum'"),
        ({"rerank_new": False}, "cannot change the best 5"),
    ],
)
def test_options_out_of_range(changes, says):
    with pytest.raises(InputError, match=says):
        options(**changes)


OURS = {"score_kind": "logit", "usage": asdict(Usage(calls=2)), "causes": []}
STORED = {**OURS, "usage": {n: v for n, v in OURS["usage"].items() if n != "loading_seconds"}}


@pytest.mark.parametrize(
    ("ranked", "scores", "meta", "order", "kind"),
    [
        ("ba", [2.0, 1.0], OURS, (1, 0), "logit"),
        ("ba", [2.0, 1.0], STORED, (1, 0), "logit"),  # before loading was counted
        ("ba", [2.0, 1.0], None, (1, 0), "rank"),  # of an unknown reranker
        ("ba", [1.0, 2.0], OURS, (1, 0), "rank"),  # rising scores
        ("ba", [2.0, None], OURS, (1, 0), "rank"),
        ("ba", [math.nan, 1.0], OURS, (1, 0), "rank"),
        ("b", [2.0], OURS, (1, 0), "rank"),  # one is left out
        ("bxba", [2.0, 1.5, 1.2, 1.0], OURS, (1, 0), "logit"),  # unknown and repeated ids
    ],
)
def test_the_ranking_of_a_frameworks_reranker(ranked, scores, meta, order, kind):
    ranking = ranking_of("ab", list(ranked), scores, meta)
    assert (ranking.order, ranking.score_kind) == (order, kind)
    assert ranking.usage.calls == (2 if meta else 0)
    assert ranking.report.missing == (frozenset({0}) if ranked == "b" else frozenset())


def test_a_reranker_that_returns_nothing_has_failed():
    ranking = ranking_of("ab", [], [])
    assert ranking.order == (0, 1)
    assert "returned nothing" in ranking.report.fallbacks[0]


def test_items_refine_a_query_as_their_scores_or_their_order_say():
    shown = np.argsort(-WANTED)[:30]
    rows, scores = VECTORS[shown].tolist(), WANTED[shown].tolist()
    vector, meta, warning = refine_from_items(VECTORS[0], rows, scores, 30, "safe")
    expected = refine_query(VECTORS[0], VECTORS[shown], scores)
    assert vector == pytest.approx(expected.vector.tolist())
    assert meta["angle"] == pytest.approx(expected.angle)
    assert warning == ""
    rising = scores[::-1]
    by_order, _, _ = refine_from_items(VECTORS[0], rows, rising, 30, "safe")
    assert by_order == pytest.approx(
        refine_query(VECTORS[0], VECTORS[shown], order=range(30)).vector.tolist()
    )
    assert np.linalg.norm(vector) == pytest.approx(np.linalg.norm(VECTORS[0]))


def test_items_that_teach_nothing():
    start = VECTORS[0].tolist()
    vector, meta, warning = refine_from_items(start, [[], []], [1.0, 0.5], 2, "safe")
    assert (vector, meta) == (start, {"skipped": "no hit came with a vector"})
    assert warning
    _, meta, _ = refine_from_items(start, VECTORS[:3].tolist(), [None] * 3, 3, "refit")
    assert "needs scores" in meta["skipped"]
    with pytest.raises(InputError, match="6 dimensions and a document's vector has 2"):
        refine_from_items(start, [[1.0, 2.0]], [1.0], 1, "safe")
