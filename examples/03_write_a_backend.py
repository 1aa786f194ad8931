"""A backend of one's own: word overlap instead of a model, in ten lines.

A backend is any object with ``run``: it is given a batch of calls and returns one reply for each,
in order. ``by_kind`` sorts a batch by the kind of question. A call that fails is answered by a
`CallError` in its place: the strategy decides what that costs, and `retried` whether to ask again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rerank_plugins import BackendError, Ranking, Reranker
from rerank_plugins.backends import by_kind
from rerank_plugins.calls import Batch, Plan, Replies, Reply, ScorePair
from rerank_plugins.plans import ask
from rerank_plugins.ranking import by_score


class WordOverlap:
    """Answers `ScorePair` with the number of words that query and passage share."""

    kinds = frozenset({ScorePair})  # a strategy that asks anything else is refused at once

    def run(self, calls: Batch) -> Replies:
        return by_kind(calls, {ScorePair: lambda pairs: [self.score(pair) for pair in pairs]})

    def score(self, call: ScorePair) -> Reply[float] | BackendError:
        if len(call.passage) > 10_000:
            return BackendError("the passage is too long for this toy")
        shared = set(call.query.lower().split()) & set(call.passage.lower().split())
        return Reply(float(len(shared)))


@dataclass(frozen=True)
class Pairs:
    """One score a passage."""

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        scores = yield from ask([ScorePair(query, passage) for passage in passages])
        return by_score(scores, "logit")


texts = ["a dog", "the red fox", "a fox", "x" * 20_000]
for line in Reranker(Pairs(), WordOverlap()).rank("red fox", texts[:3]).ranked(texts):
    print(line.rank, line.score, line.passage)

kept = Reranker(Pairs(), WordOverlap(), on_error="keep_order").rank("red fox", texts)
print("kept in order:", kept.report.fallbacks)
assert kept.order == (0, 1, 2, 3)
