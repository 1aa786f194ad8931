"""A failed call costs what it concerns, whatever holds the strategy that asked it."""

import itertools
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from rerank_plugins import Ranking, Reranker
from rerank_plugins.plans import gather
from rerank_plugins.strategies import KeepOrder, PairScore, SingleToken, SlidingWindow
from rerank_plugins.strategies._keep_order import map_inner
from rerank_plugins.testing import Failing, Oracle

WINDOWS = SlidingWindow(SingleToken(), size=4, stride=2)


class Plain:
    """A plain class that holds strategies in a tuple."""

    def __init__(self, *inner):
        self.inner = inner

    def rank(self, query, passages):
        return (yield from gather([s.rank(query, passages) for s in self.inner]))[0]


@dataclass(frozen=True, slots=True)
class Listed:
    """A frozen dataclass with a list, and nothing that is a field of a strategy by name."""

    several: list

    def rank(self, query, passages):
        return (yield from gather([s.rank(query, passages) for s in self.several]))[0]


@dataclass
class Named:
    """A dictionary of strategies; its constructor must not run again."""

    by_name: dict
    made: int = 0

    def __post_init__(self):
        self.made += 1

    def rank(self, query, passages):
        return (yield from self.by_name["only"].rank(query, passages))


class Slotted:
    __slots__ = ("_held",)

    def __init__(self, held):
        self._held = held

    def rank(self, query, passages):
        return (yield from self._held.rank(query, passages))


class Hidden:
    """Holds its strategy in a function, and says how to exchange it."""

    def __init__(self, get):
        self.get = get

    def map_inner(self, change):
        return Hidden(lambda: change(self.get()))

    def rank(self, query, passages):
        return (yield from self.get().rank(query, passages))


class Pair(NamedTuple):
    one: object
    other: object


class Mangled:
    __slots__ = "__held"

    def __init__(self, held):
        self.__held = held

    def rank(self, query, passages):
        return (yield from self.__held.rank(query, passages))


class Positional:
    """Names its parameters otherwise."""

    def __init__(self, held):
        self.held = held

    def rank(self, q, docs):
        return (yield from self.held.rank(q, docs))


class Held:
    """Holds a strategy in a container."""

    def __init__(self, container, get=lambda container: next(iter(container))):
        self.container, self.get = container, get

    def rank(self, query, passages):
        return (yield from self.get(self.container).rank(query, passages))


HOLDERS = [
    Plain,
    lambda inner: Plain(inner, inner),
    lambda inner: Listed([inner]),
    lambda inner: Named({"only": inner}),
    Slotted,
    lambda inner: Hidden(lambda: inner),
    lambda inner: Plain(Listed([Slotted(inner)])),
    Mangled,
    lambda inner: Plain(Positional(inner)),
    lambda inner: Held({inner}),
    lambda inner: Held(frozenset({inner})),
    lambda inner: Held(deque([inner], maxlen=3)),
    lambda inner: Held(Pair(inner, 1), lambda pair: pair.one),
]


def _ranked(strategy):
    count = itertools.count()
    failing = Failing(when=lambda _: next(count) == 1)
    return Reranker(strategy, failing, on_error="keep_order").rank(
        "q", [f"p {i}" for i in range(10)]
    )


@pytest.mark.parametrize("hold", HOLDERS[:1] + HOLDERS[2:])
def test_a_combinator_keeps_what_the_strategy_alone_keeps(hold):
    alone, held = _ranked(WINDOWS), _ranked(hold(WINDOWS))
    assert alone.order != tuple(range(10))
    assert (held.order, held.report) == (alone.order, alone.report)


@pytest.mark.parametrize("hold", HOLDERS)
def test_what_is_given_is_not_changed(hold):
    strategy = hold(WINDOWS)
    before = repr(getattr(strategy, "__dict__", None))
    Reranker(strategy, Oracle(), on_error="keep_order")
    assert repr(getattr(strategy, "__dict__", None)) == before


def test_constructors_do_not_run_again():
    assert KeepOrder.around(Named({"only": WINDOWS})).inner.made == 1


def test_the_policy_is_decided_when_the_reranker_is_made():
    reranker = Reranker(WINDOWS, Oracle(), on_error="keep_order")
    effective = reranker.effective_strategy
    reranker.rank("q", ["a", "b"])
    assert reranker.effective_strategy is effective
    assert reranker.strategy is WINDOWS
    with pytest.raises(AttributeError):
        reranker.strategy = SingleToken()


def test_raise_leaves_the_strategy_as_it_is():
    assert Reranker(WINDOWS, Oracle()).effective_strategy is WINDOWS


def test_nothing_is_wrapped_twice():
    assert KeepOrder.around(KeepOrder(SingleToken())) == KeepOrder(SingleToken())


def test_what_only_has_a_method_named_rank_is_left_alone():
    class Table:
        def rank(self, axis=0):
            return axis

    class Odd:
        def __init__(self):
            self.table, self.judge = Table(), Reranker(PairScore(), Oracle())

        def rank(self, query, passages):
            return (yield from PairScore().rank(query, passages))

    odd = Odd()
    assert map_inner(odd, KeepOrder.around) is odd


def _keeps(strategy):
    passages = [f"p {i}" for i in range(4)]
    return Reranker(strategy, Oracle(), on_error="keep_order").rank("q", passages)


def test_a_strategy_may_hold_itself_and_one_twice():
    class Loop:
        def __init__(self):
            self.me, self.one = self, PairScore()
            self.other = self.one

        def rank(self, query, passages):
            assert self.one is self.other
            return (yield from self.one.rank(query, passages))

    assert sorted(_keeps(Loop()).order) == [0, 1, 2, 3]


def test_attributes_of_the_inner_strategy_can_be_read():
    class Reads:
        def __init__(self, inner):
            self.inner = inner

        def rank(self, query, passages):
            assert self.inner.size == 4
            return (yield from self.inner.rank(query, passages))

    assert sorted(_keeps(Reads(WINDOWS)).order) == [0, 1, 2, 3]


def test_a_helper_that_ranks_without_a_plan_is_left_alone():
    class Bm25:
        def rank(self, query, passages):
            return list(range(len(passages)))[::-1]

    class Helped:
        def __init__(self):
            self.helper = Bm25()

        def rank(self, query, passages):
            order = self.helper.rank(query, passages)
            yield from PairScore().rank(query, passages)
            return Ranking(tuple(order))

    assert _keeps(Helped()).order == (3, 2, 1, 0)


def test_no_method_of_the_class_runs():
    class Proxy:
        def __init__(self, inner):
            self.__dict__["_i"] = inner

        def __getattr__(self, name):
            return getattr(self.__dict__["_i"], name)

        def __copy__(self):
            raise RuntimeError

        def rank(self, query, passages):
            return (yield from self._i.rank(query, passages))

    assert sorted(_keeps(Proxy(PairScore())).order) == [0, 1, 2, 3]
