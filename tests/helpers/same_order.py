"""FIRST over the same real windows with two engines, and how far they are apart.

A window takes an engine some seconds of a core. ``SAME_ORDER_QUERIES`` is their number: 5, and 20
for the table in the documentation.
"""

import os
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from rerank_plugins import Reranker
from rerank_plugins.evaluation import load_collection, load_run, run_passages
from rerank_plugins.strategies import SingleToken

QUERIES, WINDOW = int(os.environ.get("SAME_ORDER_QUERIES", "5")), 20


@dataclass(frozen=True)
class Comparison:
    """Equal orders, Kendall's tau on average, the largest difference of a log-probability."""

    equal: int
    tau: float
    furthest: float

    def __str__(self):
        return (
            f"orders equal: {self.equal} of {QUERIES}, Kendall's tau {self.tau:.3f}; "
            f"log-probabilities differ by at most {self.furthest:.1e}"
        )


def windows(data):
    """The query and the first twenty BM25 passages of the first DL19 queries."""
    collection = load_collection(data / "beir" / "dl19")
    run = load_run(data / "beir" / "dl19" / "runs" / "bm25.trec.gz", depth=WINDOW)
    keys = list(run)[:QUERIES]
    return [(collection.queries[key], run_passages(collection, run, key)) for key in keys]


def ranked(backend, asked):
    reranker = Reranker(SingleToken(), backend)
    return [reranker.rank(query, texts) for query, texts in asked]


def compared(found, expected):
    assert len(found) == len(expected) == QUERIES
    furthest = 0.0
    for mine, reference in zip(found, expected, strict=True):
        assert mine.report.unseen_labels == 0
        assert mine.usage.prompt_tokens == reference.usage.prompt_tokens
        theirs = dict(zip(reference.order, reference.scores, strict=True))
        gaps = [abs(theirs[i] - s) for i, s in zip(mine.order, mine.scores, strict=True)]
        furthest = max(furthest, *gaps)
    pairs = list(zip(found, expected, strict=True))
    equal = sum(mine.order == reference.order for mine, reference in pairs)
    return Comparison(equal, mean(tau(a.order, b.order) for a, b in pairs), furthest)


def tau(order, other):
    """Kendall's: 1 for the same order, -1 for the reverse."""
    place = {item: i for i, item in enumerate(other)}
    agree = [place[a] < place[b] for a, b in combinations(order, 2)]
    return 2 * sum(agree) / len(agree) - 1
