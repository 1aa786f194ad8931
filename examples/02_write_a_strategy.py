"""Your own strategy: duels between neighbours, in twenty lines and for any backend.

A strategy is any object with ``rank``. It asks its questions with ``yield from ask([...])``: read
``x = yield from ask([...])`` as "ask these, and continue with the answers x". Whoever runs
the plan does the asking: sync, async and for many queries at once, with caching, retries, limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rerank_plugins import Ranking, Reranker
from rerank_plugins.calls import Message, NextToken, Plan, Prompt, Untrusted
from rerank_plugins.plans import ask
from rerank_plugins.testing import Oracle


@dataclass(frozen=True, kw_only=True)
class Bubble:
    """Compare neighbours from the bottom up, once for each place at the top."""

    places: int = 3

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        yield from ()  # a plan even when there is nothing to ask
        order = list(range(len(passages)))
        for place in range(min(self.places, len(order) - 1)):
            for i in range(len(order) - 1, place, -1):
                upper, lower = passages[order[i - 1]], passages[order[i]]
                [answer] = yield from ask([NextToken(duel(query, upper, lower), ("A", "B"))])
                if answer.seen["B"] > answer.seen["A"]:
                    order[i - 1], order[i] = order[i], order[i - 1]
        return Ranking(tuple(order))


def duel(query: str, a: str, b: str) -> Prompt:
    """Text from outside goes into `Untrusted`, so that it can't pose as the template."""
    head = "Which passage answers the query better?\nQuery: "
    parts = (head, Untrusted(query, "query"), "\nA: ", Untrusted(a), "\nB: ", Untrusted(b))
    return Prompt((Message("user", parts),), prefill="Passage ")


# `Oracle` knows every passage's relevance, so a strategy can be tried without a model.
oracle = Oracle(key=lambda query, passage: passage.count("flea"))
texts = ["a dog", "a flea", "a cat", "flea, flea and flea", "fleas and a flea"]
ranking = Reranker(Bubble(), oracle).rank("flea", texts, top_k=3)
for line in ranking.ranked(texts):
    print(line.rank, line.passage)
print(ranking.usage.calls, "calls")
assert ranking.order == (3, 4, 1)
