"""The shipped contract over every strategy, alone and combined."""

import pytest

from rerank_plugins import InputError
from rerank_plugins.plans import run
from rerank_plugins.strategies import (
    Blend,
    KeepOrder,
    Permutation,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.testing import Failing, Oracle, StrategyContract


class TestSingleToken(StrategyContract):
    max_passages = 26

    @pytest.fixture
    def strategy(self):
        return SingleToken()


class TestSingleTokenWithNumbers(StrategyContract):
    max_passages = 9

    @pytest.fixture
    def strategy(self):
        return SingleToken(prompt="rankzephyr.v1")


class TestPermutation(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return Permutation()


class TestPermutationWithLetters(StrategyContract):
    max_passages = 26

    @pytest.fixture
    def strategy(self):
        return Permutation(prompt="rankllm-letters.v1")


class TestQueryLikelihood(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return QueryLikelihood()


class TestSlidingFirst(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return SlidingWindow(inner=SingleToken())


class TestNarrowWindows(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return SlidingWindow(inner=Permutation(), size=3, stride=2)


class TestBlend(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return Blend(inner=QueryLikelihood(), k=1.0)

    def test_the_better_of_two_wins(self, strategy):
        """Of two passages each is first once, so the tie keeps the input order; of three not."""
        oracle = Oracle(key=lambda query, passage: float(passage))
        assert run(strategy.rank("query", ("1", "2")), oracle.run).order == (0, 1)
        # Fused with k = 1: 1/2 + 1/4, 1/3 + 1/3, 1/4 + 1/2.
        assert run(strategy.rank("query", ("1", "2", "3")), oracle.run).order == (0, 2, 1)

    def test_a_bad_k_is_refused(self, strategy):
        with pytest.raises(InputError):
            Blend(inner=strategy, k=-1.0)


class TestKeepOrder(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return SlidingWindow(inner=SingleToken())

    def test_a_failure_is_a_call_error(self, strategy):
        """`KeepOrder` is what turns a failure into an order, so here there is none."""
        ranking = run(KeepOrder(inner=strategy).rank("q", ("a", "b")), Failing().run)
        assert ranking.report.fallbacks
