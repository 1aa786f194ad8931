"""The strategy of a component, from its arguments and the checkpoint."""

import pytest

from rerank_plugins import InputError, Reranker, UnknownNameError
from rerank_plugins.components import (
    find_parts,
    first_strategy,
    full_list_strategy,
    groupwise_strategy,
    ordering_at_least,
    pointwise_strategy,
    top_grade,
    usual_policy,
)
from rerank_plugins.strategies import (
    FullList,
    Groupwise,
    Hybrid,
    PairScore,
    Pointwise,
    PointwiseGrade,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.testing import Oracle


def test_first_has_the_prompt_of_its_checkpoint():
    assert first_strategy("castorini/first_mistral", None, 20, 10) == SlidingWindow(
        inner=SingleToken(prompt="rankllm-letters.v1"), size=20, stride=10
    )
    assert first_strategy("a/b", None, 20, 10).inner == SingleToken(prompt="first.v1")
    own = first_strategy("a/b", "short-letters.v1", 5, 2, "generate")
    assert own.inner == SingleToken(prompt="short-letters.v1", policy="generate")


@pytest.mark.parametrize(
    ("read", "top_m", "top_k", "expected"),
    [
        ("written", None, 7, 7),
        ("written", 3, 7, 3),
        ("written", None, None, None),
        ("single-token", None, 7, None),
    ],
)
def test_a_full_list_orders_what_is_returned(read, top_m, top_k, expected):
    assert full_list_strategy("a/b", None, read, top_m, top_k).top_m == expected


@pytest.mark.parametrize(
    ("own", "asked", "expected"), [(3, 5, 5), (3, 2, 3), (3, None, None), (None, 5, None)]
)
def test_the_larger_number_is_ordered(own, asked, expected):
    reranker = Reranker(
        FullList(top_m=own), Oracle(), on_error="keep_order", limits={"max_calls": 3}
    )
    found = ordering_at_least(reranker, asked)
    assert found.strategy.top_m == expected
    assert (found.backend, found.on_error) == (reranker.backend, "keep_order")
    assert found.limits == reranker.limits
    assert (found is reranker) == (own == expected)


def test_other_strategies_are_left_alone():
    reranker = Reranker(PairScore(), Oracle())
    assert ordering_at_least(reranker, 5) is reranker


def test_groupwise_settings():
    found = groupwise_strategy("a/b", None, size=8, interval=4, repeats=2, weight=0.5)
    assert found == Groupwise(size=8, interval=4, repeats=2, weight=0.5)


def test_pointwise_by_prompt_and_by_checkpoint():
    assert pointwise_strategy("a/b", None) == Pointwise(prompt="yes-no.v1")
    assert pointwise_strategy("a/b", "erank.v1", expectation=True) == PointwiseGrade(
        prompt="erank.v1", expectation=True
    )
    assert pointwise_strategy("BAAI/bge-reranker-base", None, hybrid=0.2) == Hybrid(
        PairScore(), alpha=0.2
    )
    with pytest.raises(InputError, match="no instruction"):
        pointwise_strategy("BAAI/bge-reranker-base", None, "relevant")
    with pytest.raises(InputError, match="grades"):
        pointwise_strategy("a/b", None, expectation=True)


def test_a_checkpoint_of_another_kind_is_refused():
    for build in (
        lambda: first_strategy("BAAI/bge-reranker-base", None, 20, 10),
        lambda: full_list_strategy("castorini/first_mistral", None, "written", None, 10),
        lambda: groupwise_strategy("castorini/first_mistral", None),
        lambda: pointwise_strategy("castorini/first_mistral", None),
    ):
        with pytest.raises(InputError, match="another way of ranking"):
            build()


def test_the_strategy_that_was_given_comes_first():
    def chosen(backend, model, **names):
        return find_parts(backend, model, **names).with_strategy()

    pairs = {"name": "pair-score"}
    assert chosen(None, "castorini/first_mistral", strategy="pair-score") == "pair-score"
    assert chosen(None, None, preset="BAAI/bge-reranker-base") == pairs
    assert chosen(None, "BAAI/bge-reranker-base") == pairs
    assert chosen("oracle", None, preset="BAAI/bge-reranker-base") == pairs
    assert chosen("oracle", None, strategy="first") == "first"
    with pytest.raises(UnknownNameError, match="'a/b' is not a known checkpoint"):
        chosen(None, "a/b")
    with pytest.raises(InputError, match="a backend does not say how to rank"):
        chosen("oracle", None)


def test_first_writes_the_order_where_a_model_may_report_nothing():
    url = "http://localhost"
    unknown, known = (find_parts(None, m, base_url=url) for m in ("chat", "first_mistral"))
    local = find_parts(None, "a/b")
    assert usual_policy(unknown, chat=False) == usual_policy(local, chat=True) == "generate"
    assert usual_policy(known, chat=False) == usual_policy(local, chat=False) == "keep_order"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (PointwiseGrade(prompt="erank.v1"), 10.0),
        (PointwiseGrade(prompt="grades.v1"), 9.0),
        (Groupwise(top_grade=5), 1.0),
        (Hybrid(PointwiseGrade(prompt="grades.v1")), 9.0),
        (PairScore(), None),
        (object(), None),
    ],
)
def test_the_highest_grade_of_a_strategy(strategy, expected):
    assert top_grade(strategy) == expected
