"""Errors are values: each equals its copy and its pickle, and belongs to one plan."""

import copy
import pickle

import pytest

import rerank_plugins.errors
from rerank_plugins import BackendError, CallError, PromptTooLongError, Reranker, RerankError
from rerank_plugins.backends._server.exchange import RefusedError
from rerank_plugins.calls import ScorePair
from rerank_plugins.plans import ask_each, gather, run
from rerank_plugins.strategies import Cascade, PairScore
from rerank_plugins.testing import Oracle


def _kinds(cls=RerankError):
    yield cls
    for kind in cls.__subclasses__():
        yield from _kinds(kind)


def _example(kind):
    if issubclass(kind, PromptTooLongError):
        return kind(5, limit=10)
    if kind is RefusedError:
        return kind(400, "no such model", hint="Name another.")
    if issubclass(kind, CallError):
        return kind("it failed", hint="Ask again.", retryable=True, retry_after_s=2.5)
    return kind("it failed", hint="Mend it.")


OURS = {kind for kind in _kinds() if kind.__module__.startswith("rerank_plugins")}
KINDS = sorted(OURS, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_an_error_equals_its_copies(kind, twin):
    error = _example(kind)
    other = twin(error)
    assert type(other) is kind
    assert other is not error
    assert other == error
    assert hash(other) == hash(error)
    assert (str(other), vars(other)) == (str(error), vars(error))


def test_every_error_of_the_tree_is_tried():
    named = [v for v in vars(rerank_plugins.errors).values() if isinstance(v, type)]
    assert {kind for kind in named if issubclass(kind, RerankError)} <= set(KINDS)


def test_errors_that_say_something_else_differ():
    assert BackendError("down") != BackendError("up")
    assert BackendError("down") != CallError("down")
    assert BackendError("down") != BackendError("down", retryable=True)
    assert BackendError("down") != "down"


def test_a_copy_keeps_its_cause_and_shares_nothing():
    error = BackendError("down")
    error.__cause__ = cause = ValueError("the line is cut")
    twin = copy.copy(error)
    assert twin.__cause__ is cause
    twin.retryable = True
    assert not error.retryable


def test_one_error_that_answers_many_calls_is_each_plans_own():
    error = BackendError("down")

    def plan(query):
        return (yield from ask_each([ScorePair(query, "a"), ScorePair(query, "b")]))

    answers = run(gather([plan("one"), plan("other")]), lambda calls: [error] * len(calls))
    found = [answer for part in answers for answer in part]
    assert found == [error] * 4
    assert len({id(answer) for answer in (error, *found)}) == 5


class _Half:
    """Answers the first batch; then one error object for every call."""

    def __init__(self):
        self.oracle = Oracle(key=lambda q, p: float(p.split()[-1]) * (1 if q == "up" else -1))
        self.batches = 0

    def run(self, calls):
        self.batches += 1
        return self.oracle.run(calls) if self.batches == 1 else [BackendError("down")] * len(calls)


def test_no_query_sees_what_another_query_knew():
    passages = [f"p {i}" for i in range(5)]
    cascade = Cascade(first=PairScore(), then=PairScore(), depth=3)
    up, down = Reranker(cascade, _Half()).settle_many([("up", passages), ("down", passages)])
    assert up == down == BackendError("down")
    assert up is not down
    kept = Reranker(cascade, _Half(), on_error="keep_order")
    up, down = kept.rank_many([("up", passages), ("down", passages)])
    assert (up.order, down.order) == ((4, 3, 2, 1, 0), (0, 1, 2, 3, 4))
