"""The plan of feedback by words: search, rerank, add words to the query, search again, fuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..calls import Batch, Call, Hit, Plan, Replies, Reply, Search
from ..errors import CallError, UnsupportedCallError
from ..handlers import failure
from ._loop import Loop, Stop, given_hits
from ._options import FeedbackOptions, FeedbackResult, Rank, Vector, query_vector
from ._words import Expansion, expand_query

FEWER = (
    "the retriever finds fewer passages with words added to the query, so it seems to ask for "
    "every word"
)
SAME = "the retriever finds the same with words added to the query, so it seems to ignore them"


@dataclass(frozen=True, slots=True)
class TextSearch:
    """A search by words of your own as an index: of a search engine or a database, for example.

    Give the hits their scores: a search that ignores the words that feedback adds is noticed by the
    same hits with the same scores. Without scores it looks like one that found nothing new.

    Args:
        search: Gives the best ``k`` hits of a text, best first.

    Examples:
        >>> def search(text, k):
        ...     return [Hit(t, t) for t in ("a flea", "a dog") if text in t][:k]
        >>> [reply.answer[0].id for reply in TextSearch(search).run([Search((), 5, "dog")])]
        ['a dog']
    """

    search: Callable[[str, int], Sequence[Hit]]
    kinds: ClassVar[frozenset[type[Call[object]]]] = frozenset({Search})

    def run(self, calls: Batch) -> Replies:
        """Answer `Search` calls by their texts, one after the other.

        An exception of the search fails that call alone.

        Raises:
            InputError: The search returned something else than hits.
        """
        return [self._reply(by_text(call)) for call in calls]

    def _reply(self, call: Search) -> Reply[tuple[Hit, ...]] | CallError:
        try:
            hits = self.search(call.text, call.k)
        except Exception as error:  # noqa: BLE001 - a search of the user's may raise anything
            return failure(error)
        return Reply(given_hits(hits))


def by_text(call: Call[object]) -> Search:
    """A call, if it is a search by words.

    Raises:
        UnsupportedCallError: It is another one.
    """
    if not isinstance(call, Search) or call.vector:
        name = "a search by a vector" if isinstance(call, Search) else f"a {type(call).__name__}"
        raise UnsupportedCallError(f"an index of words cannot answer {name}")
    return call


def search_with_words(
    query: str,
    *,
    rank: Rank,
    options: FeedbackOptions | None = None,
    vector: Vector | None = None,
) -> Plan[FeedbackResult]:
    """Search by words, rerank, add the words of what was ranked best, search again, and fuse.

    Asks `Search` calls that have a text, and the calls of ``rank``. No passage is reranked twice.

    Args:
        query: The query.
        rank: How hits are ranked; `ranked_by` makes one of a strategy.
        options: See `FeedbackOptions`; ``expand`` is ``"words"`` here.
        vector: The query's vector, for a hybrid index: it stays as it is in all searches.

    Raises:
        CallError: A call failed and ``options.on_error`` is ``"raise"``.

    References:
        See `expand_query`.

    Examples:
        >>> from rerank_plugins.backends import Routed
        >>> from rerank_plugins.feedback import BM25Index, ranked_by
        >>> from rerank_plugins.plans import run
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> texts = ["Fleas live for weeks", "Fleas jump", "Its lifespan is weeks", "Dogs bark"]
        >>> index = BM25Index.build(texts)
        >>> model = Oracle(key=lambda query, passage: "weeks" in passage)
        >>> backend = Routed(pairs=model, text=model, search=index)
        >>> options = FeedbackOptions(expand="words", method="bold")
        >>> found = run(search_with_words("fleas", rank=ranked_by(PairScore()), options=options),
        ...     backend.run)
        >>> list(found.expansions[0].terms), found.new
        (['live', 'weeks'], ('2',))
    """
    options = options or FeedbackOptions(expand="words")
    if options.expand != "words":
        options = replace(options, expand="words")
    start = np.zeros(0) if vector is None else query_vector(vector)
    return _Words(query, rank, options, _no_vectors, start).plan(None)


def _no_vectors(hits: Sequence[Hit]) -> Plan[Sequence[Sequence[float]]]:
    yield from ()
    return [() for _ in hits]


@dataclass(slots=True)
class _Words(Loop):
    """A search under way in which words are added to the query.

    Attributes:
        text: What the last search looked for.
        found: The scores of the last search's hits, by id.
    """

    text: str = field(init=False)
    found: Mapping[str, float | None] = field(default_factory=dict)
    expansions: list[Expansion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = self.query

    def _search(self) -> Search:
        return Search(tuple(self.vector.tolist()), self.options.k, self.text)

    def _add(self, hits: Sequence[Hit]) -> tuple[str, ...]:
        self.found = {hit.id: hit.score for hit in reversed(hits)}
        return Loop._add(self, hits)

    def _change(self) -> Plan[Stop | None]:
        """Add words to the query as it was given. The reason if it stays as it is."""
        yield from ()
        expansion = expand_query(
            self.query,
            [self.pool[key].text for key in self.last],
            **self.judged.of(self.last),
            found=self._own_scores(),
            method=self.options.method,
        )
        self.expansions.append(expansion)
        if expansion.skipped:
            return Stop(expansion.skipped)
        self.text = expansion.query
        return None

    def _own_scores(self) -> list[float] | None:
        """The retriever's scores of its last hits, if they are similarities."""
        own = [self.found[key] for key in self.last]
        known = [score for score in own if score is not None and np.isfinite(score)]
        falls = len(known) == len(own) and known == sorted(known, reverse=True)
        return known if falls else None

    def _ignored(self, hits: Sequence[Hit]) -> Stop | None:
        now = {hit.id: hit.score for hit in reversed(hits)}
        if len(now) < min(len(self.found), self.options.k):
            return Stop(FEWER, failed=True)
        if now == self.found and None not in now.values():
            return Stop(SAME, failed=True)
        return None

    def _levels(self, ids: Sequence[str]) -> Plan[Mapping[str, float]]:
        """Places in the last search, of which the first is the highest."""
        yield from ()
        place = {key: -float(i) for i, key in enumerate(self.last)}
        return {key: place.get(key, -np.inf) for key in ids}

    def _result(self, first: Sequence[str], stop: Stop) -> FeedbackResult:
        found = Loop._result(self, first, stop)
        return replace(found, query=self.text, expansions=tuple(self.expansions))
