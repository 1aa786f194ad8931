"""The promises of every strategy and every backend, as pytest classes to inherit.

::

    from rerank_plugins.testing import StrategyContract

    class TestMine(StrategyContract):
        @pytest.fixture
        def strategy(self):
            return MyStrategy()
"""

import asyncio
import copy
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ..calls import (
    Attend,
    Batch,
    Call,
    Completion,
    ContinuationLogprob,
    Embed,
    Generate,
    Hit,
    LabelLogprobs,
    Likelihood,
    Message,
    NextToken,
    PassageAttention,
    Prompt,
    Replies,
    Reply,
    ScorePair,
    Search,
    Untrusted,
    Vectors,
    WrittenOrder,
)
from ..errors import BackendError, CallError, RerankError
from ..handlers import AnyBackend, async_handler, sync_handler
from ..plans import Done, arun, gather, run, settle, step
from ..ranking import Ranking, Report, Strategy
from ..reranker import Reranker
from ..strategies import SingleToken
from ..strategies._keep_order import map_inner
from ..text import Passage
from ._doubles import Babbling, Failing
from ._oracle import Oracle

_THIRD = 3
_FIRST_TOKENS = 16  # a server writes the token it reports on; some write no fewer than these
SIZES = (0, 1, 2, 3, 9, 10, 11, 19, 20, 21, 25, 26)


def passages(n: int) -> tuple[Passage, ...]:
    """``n`` different passages."""
    return tuple(Passage(f"passage number {i}") for i in range(n))


class StrategyContract:
    """Everything a strategy promises. Override the ``strategy`` fixture.

    Class attributes:
        holds: How many strategies the strategy holds, for one that is made of others.
        max_passages: The longest list the strategy takes; None when there is no limit. Longer
            lists must be refused with a `RerankError`.
    """

    max_passages: int | None = None
    holds: int | None = None

    @pytest.fixture
    def strategy(self) -> Strategy:
        """The strategy under test."""
        pytest.fail("override the `strategy` fixture")

    @property
    def _dozen(self) -> tuple[Passage, ...]:
        return passages(min(12, self.max_passages or 12))

    def _sizes(self) -> Sequence[int]:
        return [n for n in SIZES if self.max_passages is None or n <= self.max_passages]

    def test_returns_a_permutation_with_honest_scores(self, strategy: Strategy) -> None:
        """Every passage comes back once, with finite scores that never rise."""
        for n in self._sizes():
            ranking = run(strategy.rank("query", passages(n)), Oracle(seed=n).run)
            assert isinstance(ranking, Ranking)
            assert sorted(ranking.order) == list(range(n))
            assert all(type(score) is float and math.isfinite(score) for score in ranking.scores)
            assert list(ranking.scores) == sorted(ranking.scores, reverse=True)

    def test_refuses_more_than_it_can_take(self, strategy: Strategy) -> None:
        """A list that is too long is an error, not a wrong answer."""
        if self.max_passages is None:
            return
        with pytest.raises(RerankError):
            run(strategy.rank("query", passages(self.max_passages + 1)), Oracle().run)

    def test_asks_nothing_about_nothing(self, strategy: Strategy) -> None:
        """No passages, no calls."""
        assert step(strategy.rank("query", ())) == Done(Ranking(()))

    def test_asks_something_about_two(self, strategy: Strategy) -> None:
        """A strategy that never asks reranks nothing."""
        state = step(strategy.rank("query", passages(2)))
        assert not isinstance(state, Done)

    def test_equal_passages_keep_their_order(self, strategy: Strategy) -> None:
        """Ties keep the input order."""
        for n in self._sizes():
            same = Oracle(key=lambda _query, _passage: 1.0)
            assert run(strategy.rank("query", (Passage("text"),) * n), same.run).order == tuple(
                range(n)
            )

    def test_the_better_of_two_wins(self, strategy: Strategy) -> None:
        """The order follows the model, not the input."""
        oracle = Oracle(key=lambda _query, passage: float("better" in passage))
        assert run(
            strategy.rank("query", (Passage("worse"), Passage("better"))), oracle.run
        ).order == (1, 0)

    def test_same_replies_same_questions(self, strategy: Strategy) -> None:
        """No hidden randomness and no state between runs."""
        first, second = Oracle(seed=7), Oracle(seed=7)
        a = run(strategy.rank("q", self._dozen), first.run)
        b = run(strategy.rank("q", self._dozen), second.run)
        assert a == b
        assert first.asked == second.asked

    def test_inputs_are_never_changed(self, strategy: Strategy) -> None:
        """The caller's list is the caller's."""
        texts = list(self._dozen)
        run(strategy.rank("q", texts), Oracle(seed=5).run)
        assert texts == list(self._dozen)

    def test_queries_do_not_touch_each_other(self, strategy: Strategy) -> None:
        """Alone, in lockstep, on an event loop: the same ranking."""
        alone = run(strategy.rank("q", self._dozen), Oracle(seed=3).run)
        plans = [strategy.rank("q", self._dozen) for _ in range(3)]
        assert run(gather(plans), Oracle(seed=3).run) == [alone] * 3
        on_loop = asyncio.run(arun(strategy.rank("q", self._dozen), Oracle(seed=3).arun))
        assert on_loop == alone

    def test_a_failure_is_a_call_error(self, strategy: Strategy) -> None:
        """A failed call is raised as what it is, never turned into an answer."""
        result = run(settle(strategy.rank("q", passages(3))), Failing().run)
        assert isinstance(result, BackendError)

    def test_babble_costs_no_passage(self, strategy: Strategy) -> None:
        """Rubbish of every sort: all passages come back, and the report says that it was."""
        for seed in range(len(Babbling.TEXTS)):
            for n in (1, 2, len(self._dozen)):
                reranker = Reranker(strategy, Babbling(seed), on_error="keep_order")
                ranking = reranker.rank("q", passages(n))
                assert sorted(ranking.order) == list(range(n))
                assert all(map(math.isfinite, ranking.scores))
                assert ranking.report != Report() or not ranking.usage.calls

    def test_every_third_call_fails(self, strategy: Strategy) -> None:
        """A failure costs part of the order, never a passage, and it is reported."""
        backend = Failing(when=_every_third())
        ranking = Reranker(strategy, backend, on_error="keep_order").rank("q", self._dozen)
        assert sorted(ranking.order) == list(range(len(self._dozen)))
        assert bool(ranking.report.fallbacks) == (ranking.usage.calls >= _THIRD)

    def test_a_failed_call_costs_what_it_concerns(self, strategy: Strategy) -> None:
        """One that holds strategies loses a part of the order when the first call fails."""
        held: list[Strategy] = []

        def exchange(inner: Strategy) -> Strategy:
            held.append(inner)
            return SingleToken()

        inside = map_inner(strategy, exchange)
        if self.holds is not None:
            assert len(held) == self.holds, "give the strategy a map_inner method: see Strategy"
        calls = Reranker(inside, _later_is_better()).rank("q", self._dozen).usage.calls
        if inside is strategy or calls == 1:
            return  # it holds none, or asks once
        first = itertools.count()
        failing = Failing(when=lambda _: next(first) == 0, otherwise=_later_is_better())
        ranking = Reranker(inside, failing, on_error="keep_order").rank("q", self._dozen)
        assert len(ranking.report.fallbacks) == 1, "add the inner rankings' reports to your own"
        assert ranking.usage.calls > 1
        assert ranking.order != tuple(range(len(self._dozen)))

    def test_can_keep_the_order_when_calls_fail(self, strategy: Strategy) -> None:
        """With ``on_error="keep_order"`` nothing is lost and the report says why."""
        ranking = Reranker(strategy, Failing(), on_error="keep_order").rank("q", passages(5))
        assert ranking.order == (0, 1, 2, 3, 4)
        assert ranking.report.fallbacks


class BackendContract:
    """Everything a backend promises. Override the ``backend`` fixture.

    One that answers `Search` holds vectors of 8 dimensions.

    Class attributes:
        kinds: The kinds of calls to test; those the backend declares, by default.
        logits: Whether its log-probabilities come with their normaliser, so that raw logits are
            known; None to leave that open.
    """

    kinds: frozenset[type[Call[Any]]] | None = None
    logits: bool | None = None

    @pytest.fixture
    def backend(self) -> AnyBackend:
        """The backend under test."""
        pytest.fail("override the `backend` fixture")

    @pytest.fixture
    def calls(self, backend: AnyBackend) -> Batch:
        """Four calls of each kind the backend answers, kinds interleaved."""
        kinds = self.kinds or getattr(backend, "kinds", None)
        assert kinds, "declare `kinds` on the backend or on the contract class"
        return [_example(k, i) for i in range(4) for k in _EXAMPLES if k in kinds]

    def test_answers_every_call_in_order(self, backend: AnyBackend, calls: Batch) -> None:
        """One reply a call, of the right type, also in a mixed batch."""
        replies = _ask(backend, calls)
        assert len(replies) == len(calls)
        for call, reply in zip(calls, replies, strict=True):
            assert isinstance(reply, Reply), reply
            _check_answer(call, reply)

    def test_answers_depend_on_the_question(self, backend: AnyBackend, calls: Batch) -> None:
        """Scores that are all the same rank nothing, and would hide a wrong order of replies."""
        for kind in {type(call) for call in calls} - {Generate}:
            replies = _ask(backend, [call for call in calls if type(call) is kind])
            assert len({tuple(_numbers(reply)) for reply in replies}) > 1, kind.__name__

    def test_batches_do_not_change_answers(self, backend: AnyBackend, calls: Batch) -> None:
        """Together, backwards or one by one: the same answers up to rounding."""
        together = _ask(backend, calls)
        backwards = list(reversed(_ask(backend, list(reversed(calls)))))
        for i, call in enumerate(calls):
            [alone] = _ask(backend, [call])
            for other in (alone, backwards[i]):
                assert _numbers(together[i]) == pytest.approx(_numbers(other), abs=1e-3)

    def test_raw_logits_do_not_depend_on_the_labels(
        self, backend: AnyBackend, calls: Batch
    ) -> None:
        """The normaliser, where it is known, belongs to the prompt and not to the labels."""
        for call in [call for call in calls if isinstance(call, NextToken)]:
            replies = _ask(backend, [call, replace(call, labels=call.labels[:1])])
            both, one = (reply.answer for reply in replies if isinstance(reply, Reply))
            if self.logits is not None:
                assert (both.normaliser is not None) == self.logits
            if both.normaliser is not None:
                assert math.isfinite(both.normaliser)
                assert one.normaliser == pytest.approx(both.normaliser, abs=1e-3)
                [name] = one.seen
                assert one.seen[name] == pytest.approx(both.seen[name], abs=1e-3)

    def test_an_order_may_end_the_answer(self, backend: AnyBackend, calls: Batch) -> None:
        """A text that may end early is the beginning of what it would be otherwise."""
        order = WrittenOrder(("A",), 1)
        written = [call for call in calls if isinstance(call, Generate)]
        early = _ask(backend, [replace(call, until=order) for call in written])
        for one, other in zip(_ask(backend, written), early, strict=True):
            assert isinstance(one, Reply)
            assert isinstance(other, Reply)
            assert one.answer.text.startswith(other.answer.text)

    def test_equal_calls_get_equal_answers(self, backend: AnyBackend, calls: Batch) -> None:
        """Or ties would be broken by chance."""
        replies = _ask(backend, [*calls, *calls])
        for one, other in zip(replies[: len(calls)], replies[len(calls) :], strict=True):
            assert _numbers(one) == _numbers(other)

    def test_sync_async_and_threads_agree(self, backend: AnyBackend, calls: Batch) -> None:
        """Sync, async and eight threads: the same answers."""
        expected = list(map(_numbers, _ask(backend, calls)))

        async def ask() -> Replies:
            return await async_handler(backend)(calls)

        assert list(map(_numbers, asyncio.run(ask()))) == expected
        barrier = threading.Barrier(8)

        def in_thread(_: int) -> list[list[float]]:
            barrier.wait()
            return list(map(_numbers, _ask(backend, calls)))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(in_thread, range(8))) == [expected] * 8

    def test_calls_are_not_changed(self, backend: AnyBackend, calls: Batch) -> None:
        """A batch is the caller's."""
        before = copy.copy(list(calls))
        _ask(backend, calls)
        assert list(calls) == before

    def test_repr_is_short(self, backend: AnyBackend) -> None:
        """No weights, no secrets."""
        assert len(repr(backend)) < 2_000


def _later_is_better() -> Oracle:
    return Oracle(key=lambda _query, passage: float(passage.split()[-1]))


def _every_third() -> Callable[[Call[Any]], bool]:
    count = itertools.count(1)
    return lambda _: next(count) % _THIRD == 0


def _ask(backend: AnyBackend, calls: Batch) -> Replies:
    if hasattr(backend, "run"):
        return sync_handler(backend)(calls)

    async def ask() -> Replies:
        return await async_handler(backend)(calls)

    return asyncio.run(ask())


def _example(kind: type[Call[Any]], i: int) -> Call[Any]:
    return _EXAMPLES[kind](i)


def _prompt(i: int) -> Prompt:
    question = (Untrusted("flea", "query"), " A: ", Untrusted("very " * i + "good"), " Answer: ")
    return Prompt((Message("user", question),), prefill="[")


def _list_prompt(i: int) -> Prompt:
    passages = (Untrusted("good " * (1 + i)), " B: ", Untrusted("fleas live long"))
    return Prompt((Message("user", ("A: ", *passages, " Query: ", Untrusted("flea", "query"))),))


_EXAMPLES: dict[type[Call[Any]], Callable[[int], Call[Any]]] = {
    NextToken: lambda i: NextToken(_prompt(i), ("A", "B")),
    Generate: lambda i: Generate(_prompt(i), max_tokens=3 + i),
    Likelihood: lambda i: Likelihood(_prompt(i), Untrusted(" life of a flea", "query")),
    ScorePair: lambda i: ScorePair("life of a flea", ("a cat", "a flea", "flea life", "sea")[i]),
    Embed: lambda i: Embed(_prompt(i)),
    Attend: lambda i: Attend(_list_prompt(i)),
    Search: lambda i: Search(tuple(float(i == j) for j in range(8)), k=2 + i % 2),
}


def _check_answer(call: Call[Any], reply: Reply[Any]) -> None:
    match call:
        case NextToken():
            assert isinstance(reply.answer, LabelLogprobs)
            assert set(reply.answer.seen) <= set(call.labels)
            assert all(value <= 0.0 for value in reply.answer.seen.values())
            assert reply.generated_tokens <= _FIRST_TOKENS
        case Generate():
            assert isinstance(reply.answer, Completion)
            assert reply.generated_tokens <= call.max_tokens
        case Likelihood():
            assert isinstance(reply.answer, ContinuationLogprob)
            assert reply.answer.logprob <= 0.0
            assert reply.answer.tokens >= 1
        case ScorePair():
            assert type(reply.answer) is float
        case Embed():
            [row] = reply.answer.rows
            assert row
            assert all(type(value) is float and math.isfinite(value) for value in row)
        case Attend():
            assert isinstance(reply.answer, PassageAttention)
            assert len(reply.answer.passages) == len(call.prompt.untrusted) - 1
            assert reply.generated_tokens == 0
        case Search(k=k):
            assert all(isinstance(hit, Hit) for hit in reply.answer)
            assert len({hit.id for hit in reply.answer}) == len(reply.answer) <= k
    assert reply.prompt_tokens >= 0


def _numbers(reply: Reply[Any] | CallError) -> list[float]:
    """The numbers of a reply that can be compared."""
    assert isinstance(reply, Reply), reply
    match reply.answer:
        case LabelLogprobs(seen=seen, normaliser=normaliser):
            known = [] if normaliser is None else [normaliser]
            return [*(seen[name] for name in sorted(seen)), *known]
        case Completion(text=text):
            return [float(ord(c)) for c in text]
        case ContinuationLogprob(logprob=logprob, tokens=tokens):
            return [logprob, float(tokens)]
        case Vectors(rows=rows):
            return [value for row in rows for value in row]
        case PassageAttention(passages=values):
            return list(values)
        case tuple() as hits:
            return [float(x) for hit in hits for x in (*map(ord, hit.id), *hit.vector)]
        case value:
            return [float(value)]
