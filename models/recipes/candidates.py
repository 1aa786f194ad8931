"""The passages of a list: the first of BM25 and of a bi-encoder, and one at random."""

from collections.abc import Collection, Sequence
from random import Random

import numpy as np
import Stemmer

from rerank_plugins.evaluation._bm25 import bm25s_package

bm25s = bm25s_package()

LEXICAL = DENSE = 40  # ranks that negatives of generated queries come from
CLAIM_DEPTH = 50  # and those of claims
SKEW = 1.6  # above 1: near the top more often than not
RELEVANT = 3  # at most, in a claim's list


class BM25:
    """BM25 with k1 = .9 and b = .4, of stems, without stop words."""

    def __init__(self, texts: Sequence[str]):
        self._stemmer = Stemmer.Stemmer("english")
        self._size = len(texts)
        self._index = bm25s.BM25(k1=0.9, b=0.4)
        self._index.index(self._tokens(texts), show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """The score of every text."""
        [tokens] = self._tokens([query], return_ids=False)
        return self._index.get_scores(tokens) if tokens else np.zeros(self._size)

    def _tokens(self, texts: Sequence[str], **options):
        return bm25s.tokenize(
            texts, stopwords="en", stemmer=self._stemmer, show_progress=False, **options
        )


def for_query(
    source: int, lexical: np.ndarray, dense: np.ndarray, size: int, chance: Random
) -> list[int]:
    """The passage that a query was made from, hard negatives, half of each kind, and a random one.

    Args:
        source: The position of the passage that the query was made from.
        lexical: BM25's scores of all passages.
        dense: The bi-encoder's scores of all passages.
        size: Passages of the list.
        chance: The random generator.
    """
    by_words = [i for i in first(lexical, LEXICAL) if lexical[i] > 0 and i != source]
    by_vectors = [i for i in first(dense, DENSE) if i != source]
    chosen = [source]
    while len(chosen) < size - 1:
        pool = by_words if len(chosen) % 2 and by_words else by_vectors
        rank = min(int(chance.random() ** SKEW * len(pool)), len(pool) - 1)
        found = pool.pop(rank)
        if found not in chosen:
            chosen.append(found)
    return with_random(chosen, (), len(lexical), size, chance)


def for_claim(relevant: Sequence[int], lexical: np.ndarray, size: int, chance: Random) -> list[int]:
    """Cited abstracts, BM25's first others, some of its further ones, and random ones.

    The arguments are those of `for_query`; ``relevant`` has the positions of all cited abstracts.
    """
    found = [i for i in first(lexical, CLAIM_DEPTH) if i not in relevant and lexical[i] > 0]
    chosen = [*relevant[:RELEVANT], *found[: size // 3]]
    further = [i for i in found if i not in chosen]
    chosen += chance.sample(further, min(size - 1 - len(chosen), len(further)))
    return with_random(chosen, relevant, len(lexical), size, chance)


def with_random(
    chosen: Sequence[int], excluded: Collection[int], count: int, size: int, chance: Random
) -> list[int]:
    """Fill a list up with random ones of ``count`` passages."""
    made = list(chosen)
    while len(made) < size:
        found = chance.randrange(count)
        if found not in made and found not in excluded:
            made.append(found)
    return made


def first(scores: np.ndarray, depth: int) -> list[int]:
    """The positions of the highest scores."""
    return [int(i) for i in np.argsort(-scores)[:depth]]
