"""Several runs over the list in different orders, and the mean of the places."""

import pytest

from rerank_plugins import InputError, Ranking, Reranker
from rerank_plugins.plans import run
from rerank_plugins.strategies import Consensus, Permutation, SingleToken
from rerank_plugins.testing import Oracle, Scripted


class Seen:
    """Keeps the order that it is given, and remembers it."""

    def __init__(self):
        self.lists = []

    def rank(self, query, passages):
        self.lists.append(list(passages))
        yield from ()
        return Ranking(tuple(range(len(passages))))


@pytest.mark.parametrize("passes", [1, 2, 3, 4, 7])
def test_the_orders_come_in_pairs_with_their_reverse(passes):
    seen, texts = Seen(), list("abcdefg")
    run(Consensus(seen, passes=passes).rank("q", texts), Oracle().run)
    assert seen.lists[0] == texts
    assert len(seen.lists) == passes
    pairs = seen.lists[passes % 2 :]
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert other == one[::-1]
        assert sorted(one) == texts


def test_a_bias_for_the_first_place_cancels():
    """A model that likes first places only leaves the input's order when both ends were first."""
    ranking = Reranker(Consensus(Seen(), passes=2), Oracle()).rank("q", list("abcd"))
    assert ranking.order == (0, 1, 2, 3)


def test_places_are_averaged():
    by_value = Oracle(key=lambda query, passage: float(passage))
    ranking = Reranker(Consensus(SingleToken(), passes=4), by_value).rank("q", ["1", "3", "2"])
    assert ranking.order == (1, 2, 0)
    assert (ranking.usage.calls, ranking.usage.batches) == (4, 1)


def test_reports_are_in_the_caller_s_positions():
    long = "word " * 400  # first.v1 keeps 300 words
    ranking = Reranker(Consensus(SingleToken(), passes=5), Oracle()).rank("q", ["a", long, "b"])
    assert ranking.report.truncated == {1}


def test_refused_settings():
    with pytest.raises(InputError, match="passes is 0"):
        Consensus(SingleToken(), passes=0)
    with pytest.raises(InputError, match="not a strategy"):
        Consensus("single-token")


def test_every_pass_has_to_say_that_none_is_relevant():
    strategy = Consensus(Permutation(allow_none=True), passes=2)
    for answers, irrelevant in ((["none", "none"], {0, 1}), (["none", "[1] > [2]"], set())):
        ranking = Reranker(strategy, Scripted(answers)).rank("q", ["a", "b"])
        assert ranking.report.irrelevant == irrelevant
