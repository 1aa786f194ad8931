"""From a ranking to the body of a response."""

import math

import pytest

from rerank_plugins import Ranking, Report, Usage
from rerank_plugins.serving._responses import relevance, response
from rerank_plugins.serving._schemas import RerankRequest, request_model

REQUEST = request_model(10, 100, 100).model_validate(
    {"query": "q", "documents": ["a", {"text": "b", "title": "B", "year": 1}], "speed": 1}
)


def test_scores_of_every_kind_keep_their_order():
    for kind in ("logit", "logprob", "probability", "grade", "rank"):
        values = [relevance(x / 10, kind) for x in range(-50, 60)]
        assert values == sorted(values)
        assert min(values) >= 0
        assert max(values) <= 1


@pytest.mark.parametrize(
    ("score", "kind", "expected"),
    [
        (math.log(3), "logit", 0.75),
        (-math.log(3), "z-score", 0.25),
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
    return response(ranking, request, request_id="id", model="mine", version="2")


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
        found = response(ranking, request, request_id="", model="", version="1")
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
