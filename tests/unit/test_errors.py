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
        cost = {"prompt_tokens": 7, "generated_tokens": 2}
        return kind("it failed", hint="Ask again.", retryable=True, retry_after_s=2.5, **cost)
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


class SlowError(CallError, TimeoutError):
    """Its constructor takes something else than a message."""

    def __init__(self, seconds):
        super().__init__(f"no answer within {seconds} s")


class HttpError(BackendError):
    """It has a ``__new__`` with arguments of its constructor, and a slot."""

    __slots__ = ("status",)

    def __new__(cls, status, body):
        return super().__new__(cls, status, body)

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status


@pytest.mark.parametrize("error", [SlowError(3), HttpError(503, "busy")])
@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_errors_of_other_packages_survive_too(error, twin):
    other = twin(error)
    assert (type(other), str(other), other) == (type(error), str(error), error)
    assert getattr(other, "status", None) == getattr(error, "status", None)


def test_members_of_built_in_bases_survive():
    error = rerank_plugins.MissingExtraError("torch is not installed")
    error.name = "torch"
    assert copy.copy(error).name == pickle.loads(pickle.dumps(error)).name == "torch"


def test_a_copy_tells_as_much_of_what_led_to_it():
    try:
        try:
            int("x")
        except ValueError:
            raise BackendError("down")  # noqa: B904 - its context is what is tested
    except BackendError as caught:
        error = caught
    twin = copy.copy(error)
    assert (twin.__context__, twin.__cause__) == (error.__context__, None)
    assert not twin.__suppress_context__
    assert twin.__traceback__ is error.__traceback__


class Raw:
    """Takes replies without `ask`, and raises them with a cause."""

    def rank(self, query, passages):
        [reply] = yield [ScorePair(query, passages[0])]
        raise reply from KeyError(query)


def test_replies_are_each_plans_own_without_ask_too():
    class Same:
        error = BackendError("down")

        def run(self, calls):
            return [self.error] * len(calls)

    found = Reranker(Raw(), Same()).settle_many([("q1", ["a"]), ("q2", ["a"])])
    assert [error.__cause__.args for error in found] == [("q1",), ("q2",)]
    assert Same.error.__cause__ is None
