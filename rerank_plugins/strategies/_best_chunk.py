"""Long passages, judged by their best chunks."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest
from statistics import fmean
from typing import Any

from .._checks import at_least
from ..calls import Call, Plan, ScorePair
from ..errors import InputError
from ..plans import Done, step
from ..ranking import Ranking, Report, Strategy, by_score, check_inner
from ..text import Passage, chunks_of
from ._calibrated import Calibrated
from ._head import Head, When
from ._hybrid import Blend, Hybrid
from ._keep_order import KeepOrder

_AROUND = (Blend, Calibrated, Head, Hybrid, KeepOrder, When)
"""What looks at the first stage's list, so that chunks belong inside."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BestChunk:
    """Judge each passage by its best chunk, where passages are longer than what a model reads.

    Passages are cut into chunks of ``words`` words; each keeps the title and the score of its
    passage. A strategy that asks about one passage at a time is asked about all chunks, and the
    score of a passage is the highest of its chunks', or the mean of the best ``top``; the kind of
    score stays. For one that asks about several at once, the best chunk of each passage stands for
    it. A cheaper strategy picks it (``pick``); without one, the chunk with most of the query's
    words, where a word counts more the fewer chunks have it.

    Positions in the ranking and in its report are those of passages. A list without long passages
    is ranked by ``inner`` itself. Strategies that look at the first stage's list (`Hybrid`,
    `Calibrated`, `Blend`) belong around this one, and windows (`SlidingWindow`) inside.

    Args:
        inner: Ranks chunks.
        words: Words in a chunk, at least 1.
        overlap: Words that two neighbouring chunks share, below ``words``; a sixth of them when
            None.
        top: The number of chunks whose scores are averaged; of a passage with fewer, all. Above 1
            only where all chunks are scored.
        pick: Scores chunks one at a time, to pick the one that ``inner`` is shown of each passage.
            A `Routed` backend gives it a model of its own.

    Raises:
        InputError: A number is out of range, ``inner`` or ``pick`` is not a strategy, or ``top`` is
            above 1 where only one chunk of each passage is ranked.

    References:
        Dai and Callan, Deeper Text Understanding for IR with Contextual Neural Language Modeling,
        arXiv:1905.09217, 2019 (its MaxP).

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> fleas = Oracle(key=lambda query, passage: passage.split().count(query))
        >>> reranker = Reranker(BestChunk(PairScore(), words=3, overlap=0), fleas)
        >>> ranking = reranker.rank("flea", ["a flea and a dog", "a dog and a cat and a flea flea"])
        >>> ranking.order, ranking.scores, ranking.usage.calls
        ((1, 0), (2.0, 1.0), 5)
    """

    inner: Strategy = field(kw_only=False)
    words: int = 90
    overlap: int | None = None
    top: int = 1
    pick: Strategy | None = None

    def __post_init__(self) -> None:
        check_inner(self.inner)
        if self.pick is not None:
            check_inner(self.pick)
        at_least(1, words=self.words, top=self.top)
        at_least(0, none=True, overlap=self.overlap)
        if self.overlap is not None and self.overlap >= self.words:
            raise InputError(
                f"overlap is {self.overlap} and words {self.words}: no chunk would begin later "
                "than the one before it",
                hint="Give an overlap below words.",
            )
        if self.top > 1 and not self._scores_chunks:
            raise InputError(
                f"top is {self.top}, and only one chunk of each passage is ranked",
                hint="Leave top out, or use a strategy that scores passages one at a time.",
            )

    @property
    def max_passages(self) -> int | None:
        """The longest list that ``inner`` takes; None when there is no limit."""
        most: int | None = getattr(self.inner, "max_passages", None)
        return most

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of all chunks, or of the best chunk of each passage."""
        overlap = self.words // 6 if self.overlap is None else self.overlap
        cut = [
            [passage.with_text(chunk) for chunk in chunks_of(passage, self.words, overlap)]
            for passage in map(Passage.of, passages)
        ]
        chunks = [chunk for few in cut for chunk in few]
        owners = [i for i, few in enumerate(cut) for _ in few]
        if len(chunks) == len(passages):
            return (yield from self.inner.rank(query, passages))
        if self._scores_chunks:
            return self._joined((yield from self.inner.rank(query, chunks)), owners)
        several = [k for k, i in enumerate(owners) if len(cut[i]) > 1]
        picked = by_score(words_in_common(query, chunks), "rank")
        order, report = picked.order, Report()
        if self.pick is not None:
            picked = yield from self.pick.rank(query, [chunks[k] for k in several])
            order = tuple(several[j] for j in picked.order)
            report = picked.report.mapped([owners[k] for k in several])
        stands = dict(enumerate(passages))
        for k in reversed(order):  # the best is written last
            stands[owners[k]] = chunks[k] if len(cut[owners[k]]) > 1 else passages[owners[k]]
        ranking = yield from self.inner.rank(query, [stands[i] for i in range(len(passages))])
        return replace(ranking, report=report + ranking.report)

    @property
    def _scores_chunks(self) -> bool:
        return self.pick is None and _asks_one_at_a_time(self.inner)

    def _joined(self, ranking: Ranking, owners: Sequence[int]) -> Ranking:
        """Join the ranking of all chunks into one of passages, by the numbers of their passages."""
        report = ranking.report.mapped(owners)
        relevant = {i for k, i in enumerate(owners) if k not in ranking.report.irrelevant}
        report = replace(report, irrelevant=report.irrelevant - relevant)
        if ranking.score_kind == "rank":  # by the first of their chunks
            order = tuple(dict.fromkeys(owners[k] for k in ranking.order))
            return Ranking(order, report=report)
        scores = dict(zip(ranking.order, ranking.scores, strict=True))
        found = by_score(self._best(owners, scores), ranking.score_kind, report=report)
        own = self._best(owners, dict(enumerate(ranking.model_scores)))
        kind = ranking.model_score_kind
        return replace(found, model_scores=tuple(own), model_score_kind=kind)

    def _best(self, owners: Sequence[int], scores: Mapping[int, float]) -> list[float]:
        """The mean of the best chunks of each passage, from the scores of all; empty if none."""
        own: dict[int, list[float]] = {}
        for k, i in enumerate(owners):
            if scores:
                own.setdefault(i, []).append(scores[k])
        return [fmean(nlargest(self.top, own[i])) for i in sorted(own)]


def with_chunks(strategy: Strategy, words: int) -> Strategy:
    """The strategy on chunks of passages, where `BestChunk` belongs.

    That is inside the strategies of this package that look at the first stage's list, and around
    all others. One that has chunks already gets this number of words.

    Args:
        strategy: The strategy.
        words: Words in a chunk, at least 1.

    Raises:
        InputError: ``words`` is not a positive whole number.

    Examples:
        >>> from rerank_plugins.strategies import Calibrated, PairScore
        >>> with_chunks(Calibrated(PairScore()), 90).inner.words
        90
    """
    if isinstance(strategy, BestChunk):
        return replace(strategy, words=words, overlap=None)
    if isinstance(strategy, _AROUND):
        return replace(strategy, inner=with_chunks(strategy.inner, words))
    return BestChunk(strategy, words=words)


def words_in_common(query: str, chunks: Sequence[str]) -> list[float]:
    """Score chunks by the words of the query that they have, rare words more.

    A word counts ``log(1 + n / m)`` where ``m`` of ``n`` chunks have it.

    Examples:
        >>> [round(s, 2) for s in words_in_common("a flea", ["A dog.", "a flea!", "cats"])]
        [0.92, 2.3, 0.0]
    """
    wanted = set(_WORD.findall(query.casefold()))
    found = [wanted.intersection(_WORD.findall(chunk.casefold())) for chunk in chunks]
    spread = Counter(word for words in found for word in words)
    worth = {word: math.log1p(len(chunks) / m) for word, m in spread.items()}
    return [math.fsum(worth[word] for word in words) for words in found]


def _asks_one_at_a_time(strategy: Strategy) -> bool:
    """True if the first calls of a strategy are about one passage each."""
    plan = strategy.rank("query", (Passage("one passage"), Passage("another passage")))
    state = step(plan)
    plan.close()
    return not isinstance(state, Done) and all(_passages_in(call) == 1 for call in state)


def _passages_in(call: Call[Any]) -> int:
    prompt = getattr(call, "prompt", None)
    if prompt is None:
        return int(isinstance(call, ScorePair))
    return sum(part.kind == "passage" for part in prompt.untrusted)
