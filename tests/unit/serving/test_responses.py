"""From a ranking to the body of a response."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins import BackendError, Ranking, Report, Reranker, Usage
from rerank_plugins.calls import Completion, Generate, Reply
from rerank_plugins.serving import ServiceSettings
from rerank_plugins.serving._responses import relevance, response, unread_positions
from rerank_plugins.serving._schemas import RerankRequest, request_model
from rerank_plugins.strategies import (
    Blend,
    Cascade,
    Consensus,
    FullList,
    Groupwise,
    Hybrid,
    PairScore,
    Pairwise,
    Permutation,
    Pointwise,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)
from rerank_plugins.testing import Failing, Oracle

REQUEST = request_model(10, 100, 100).model_validate(
    {"query": "q", "documents": ["a", {"text": "b", "title": "B", "year": 1}], "speed": 1}
)


def test_scores_of_every_kind_keep_their_order():
    for kind in ("logit", "logprob", "probability", "similarity", "grade", "rank"):
        values = [relevance(x / 10, kind) for x in range(-50, 60)]
        assert values == sorted(values)
        assert min(values) >= 0
        assert max(values) <= 1


@pytest.mark.parametrize(
    ("score", "kind", "expected"),
    [
        (math.log(3), "logit", 0.75),
        (-math.log(3), "z-score", 0.25),
        (math.log(3), "similarity", 0.75),
        (-1e6, "logit", 0.0),
        (1e6, "logit", 1.0),
        (math.log(0.25), "logprob", 0.25),
        (0.25, "probability", 0.25),
        (1.5, "probability", 1.0),
        (1.0, "grade", 0.5),
        (-1.0, "grade", 0.0),
        (1 / 3, "rank", 1 / 3),
    ],
)
def test_scores_by_their_definition(score, kind, expected):
    assert relevance(score, kind) == pytest.approx(expected, abs=1e-12)


def respond(request: RerankRequest, **report):
    usage = Usage(calls=2, prompt_tokens=30, generated_tokens=4, seconds=0.5)
    ranking = Ranking((1, 0), (0.75, 0.5), "probability", report=Report(**report), usage=usage)
    return response(
        ranking, request, request_id="id", settings=ServiceSettings(model="mine"), version="2"
    )


def test_a_response():
    found = respond(REQUEST)
    assert (found.id, found.model, found.fallback) == ("id", "mine", False)
    assert [(r.index, r.relevance_score, r.score) for r in found.results] == [
        (1, 0.75, 0.75),
        (0, 0.5, 0.5),
    ]
    assert all(r.document is None for r in found.results)
    assert (found.usage.total_tokens, found.usage.calls, found.usage.seconds) == (34, 2, 0.5)
    assert (found.meta.tokens.input_tokens, found.meta.tokens.output_tokens) == (30, 4)
    assert found.meta.api_version.version == "2"
    assert found.meta.billed_units.search_units == 1
    assert found.meta.warnings == ["'speed' is not supported and was ignored"]


@pytest.mark.parametrize(
    ("ranking", "unread"),
    [
        (Ranking((1, 0), usage=Usage(calls=1)), set()),
        (Ranking((1, 0)), {0, 1}),  # nothing was asked
        (Ranking((0, 1), report=Report(fallbacks=("BackendError",)), usage=Usage(calls=2)), {0, 1}),
        (Ranking((0, 1), report=Report(malformed=1), usage=Usage(calls=2)), {0, 1}),
        (
            Ranking(
                (2, 1, 0),
                report=Report(fallbacks=("late",), unread=frozenset({1}), missing=frozenset({0})),
                usage=Usage(calls=2),
            ),
            {0, 1},
        ),
        (Ranking((1, 0), report=Report(missing=frozenset({0})), usage=Usage(calls=2)), {0}),
        (Ranking((1, 0), (2.0, 1.0), "z-score", report=Report(missing=frozenset({1}))), {1}),
        (Ranking((1, 0), (2.0, 1.0), "logit", report=Report(fallbacks=("late",))), set()),
        (Ranking((1, 0), (2.0, 1.0), "logit"), set()),
        (Ranking(()), set()),
    ],
)
def test_passages_that_no_model_read(ranking, unread):
    assert unread_positions(ranking) == unread


def test_a_passage_that_no_model_read_has_no_score():
    usage, report = Usage(calls=3), Report(missing=frozenset({0}))
    ranking = Ranking((1, 0, 2), report=report, usage=usage)
    request = RerankRequest(query="q", documents=["a", "b", "c"])
    found = response(ranking, request, request_id="", settings=ServiceSettings(), version="1")
    assert [(r.index, r.relevance_score, r.score) for r in found.results] == [
        (1, 1.0, 1.0),
        (0, None, None),
        (2, 1 / 3, 1 / 3),
    ]
    sent = found.model_dump(exclude_unset=True)["results"][1]
    assert sent == {"index": 0, "relevance_score": None, "score": None}


STRATEGIES = [
    PairScore(),
    QueryLikelihood(),
    Pointwise(),
    PointwiseGrade(),
    SingleToken(),
    Permutation(),
    FullList(),
    Groupwise(),
    Setwise(),
    Pairwise(),
    SlidingWindow(SingleToken(), size=4, stride=2),
    SlidingWindow(Permutation(), size=4, stride=2),
    TopDown(SingleToken(), size=4, top_m=2),
    Tournament(Permutation(), size=4),
    Cascade(first=PairScore(), then=Permutation(), depth=3),
    Consensus(PairScore()),
    Blend(PointwiseGrade()),
    Hybrid(PairScore()),
    Hybrid(PointwiseGrade()),
]


class Unreliable:
    """Fails, or writes rubbish, by chance; ``read`` is what was asked and answered usably."""

    kinds = Oracle.kinds

    def __init__(self, chance, failing, babbling):
        self.chance, self.failing, self.babbling, self.read = chance, failing, babbling, ""

    def run(self, calls):
        replies = []
        for call, right in zip(calls, Oracle().run(calls), strict=True):
            luck = self.chance.random()
            if luck < self.failing:
                replies.append(BackendError("out of memory"))
            elif luck < self.failing + self.babbling and isinstance(call, Generate):
                replies.append(Reply(Completion("I cannot tell.", "stop")))
            else:
                self.read += repr(call)
                replies.append(right)
        return replies


@settings(max_examples=1_000, deadline=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    n=st.integers(0, 9),
    query=st.sampled_from(["fleas", " "]),
    failing=st.sampled_from([0, 0.1, 0.5, 1]),
    babbling=st.sampled_from([0, 0.1, 0.5, 1]),
    seed=st.integers(0, 2**32),
)
def test_what_no_model_read_never_has_a_score(strategy, n, query, failing, babbling, seed):
    documents = [f"<passage {i}>" for i in range(n)]
    model = Unreliable(random.Random(seed), failing, babbling)
    ranking = Reranker(strategy, model, on_error="keep_order").rank(query, documents)
    request = RerankRequest(query=query, documents=documents)
    results = response(
        ranking, request, request_id="", settings=ServiceSettings(), version="1"
    ).results
    assert sorted(r.index for r in results) == list(range(n))
    for result in results:
        if documents[result.index] not in model.read:
            assert (result.relevance_score, result.score) == (None, None)
    if not failing and not babbling and n > 1 and query == "fleas":
        assert None not in [r.relevance_score for r in results]
    scores = [r.relevance_score for r in results if r.relevance_score is not None]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("strategy", "unread"),
    [
        (PairScore(), {2}),
        (QueryLikelihood(), {2}),
        (Pointwise(), {2}),
        (PointwiseGrade(), {2}),
        (Blend(PairScore()), {2}),
        (Hybrid(PairScore()), {2}),
        (Cascade(first=PairScore(), then=Pairwise(), depth=1), {2}),
        (Tournament(SingleToken(), size=3), {2, 4}),  # of the window that fails, 0 is in the final
    ],
)
def test_a_call_that_fails_costs_the_score_of_what_it_was_about(strategy, unread):
    documents = [f"<passage {i}>" for i in range(6)]
    model = Failing(when=lambda call: "<passage 2>" in repr(call), otherwise=Oracle())
    ranking = Reranker(strategy, model, on_error="keep_order").rank("fleas", documents)
    request = RerankRequest(query="fleas", documents=documents)
    found = response(ranking, request, request_id="", settings=ServiceSettings(), version="1")
    assert found.fallback
    assert found.report.unread == unread
    assert {r.index for r in found.results if r.relevance_score is None} == unread
    assert {r.index for r in found.results if r.score is None} == unread


def test_documents_are_returned_without_their_other_fields():
    found = respond(REQUEST.model_copy(update={"return_documents": True}))
    assert [r.document.model_dump() for r in found.results] == [
        {"text": "b", "title": "B"},
        {"text": "a", "title": None},
    ]


def test_search_units_are_hundreds_of_documents():
    for n, units in ((0, 0), (1, 1), (100, 1), (101, 2)):
        request = RerankRequest(query="q", documents=["a"] * n)
        ranking = Ranking(tuple(range(n)), (0.0,) * n)
        found = response(ranking, request, request_id="", settings=ServiceSettings(), version="1")
        assert found.meta.billed_units.search_units == units


def test_reasons_of_fallbacks_are_public_ones_and_each_is_a_warning_once():
    causes = ("BackendError: http://10.0.0.7", "BackendError: http://10.0.0.8", "BudgetError: late")
    found = respond(RerankRequest(query="q", documents=["a", "b"]), fallbacks=causes)
    assert found.fallback is True
    assert list(found.report.fallbacks) == ["BackendError", "BackendError", "BudgetError: late"]
    assert found.meta.warnings == [
        "part of the order is the request's: BackendError",
        "part of the order is the request's: BudgetError: late",
    ]


def test_warnings_are_few():
    request = RerankRequest(query="q", documents=["a", "b"], **{f"field{i}": 1 for i in range(50)})
    assert len(respond(request).meta.warnings) == 8
