"""Measuring feedback, query by query: recall without it, with it, and with no reranker in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..backends import Routed
from ..calls import Hit, Plan
from ..errors import InputError
from ..evaluation import Collection, Run, evaluate_each
from ..handlers import AnyBackend
from ..plans import run
from ..ranking import Ranking
from ..reranker import Reranker
from ._e2rank import ASKS, E2Rank
from ._index.faiss import FaissIndex
from ._options import FeedbackOptions, Rank, Vector, query_vector
from ._refine import FloatArray, find_method, keep_length, refine_query
from ._search import ranked_by, search_with_feedback
from ._word_search import search_with_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One query with and without feedback.

    Attributes:
        query: Its id.
        before: The measure of the first search.
        after: The measure of the last search; where neighbours are reranked, of those and of the
            first search's hits after them.
        control: The same with the retriever's own scores as the teacher: the gain of feedback
            without any reranker.
        fused: The measure of the list that a user gets.
        angle: The angle between the first and the last query vector, in degrees; 0 where words were
            added.
        skipped: Why there was no feedback; empty if there was.
    """

    query: str
    before: float
    after: float
    control: float
    fused: float
    angle: float
    skipped: str


def compare(
    collection: Collection,
    index: FaissIndex,
    vectors: Mapping[str, Vector],
    *,
    teacher: "Teacher",
    options: FeedbackOptions,
    measure: str = "R@100",
) -> Iterator[Comparison]:
    """Measure every query of a collection, one after the other.

    Args:
        collection: Queries and judgements; its documents are those of the index.
        index: The index to search.
        vectors: Query vectors by query id.
        teacher: The ranking of the hits.
        options: Options of the search.
        measure: A name as ``ir_measures`` writes it.
    """
    if options.expand != "words" and isinstance(find_method(options.method), E2Rank):
        raise InputError(ASKS, hint="Use another method, such as 'safe'.")
    backend = Routed(pairs=teacher.backend, text=teacher.backend or index, search=index)
    for key, vector in vectors.items():
        start = query_vector(vector)
        plan = search_with_feedback(
            collection.queries[key], start, rank=teacher.rank(key), options=options
        )
        found = run(plan, backend.run)
        follows = options.expand != "query"
        lists = {
            "before": found.first,
            "after": [hit.id for hit in found.hits] if follows else found.second,
            "control": _untaught(index, start, options),
            "fused": [hit.id for hit in found.hits],
        }
        cosine = start @ found.vector / np.linalg.norm(start) / np.linalg.norm(found.vector)
        yield Comparison(
            query=key,
            **_values(key, lists, collection, measure),
            angle=float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
            skipped=found.skipped,
        )


def compare_words(
    collection: Collection,
    index: AnyBackend,
    queries: Mapping[str, str],
    *,
    teacher: "Teacher",
    options: FeedbackOptions,
    measure: str = "R@100",
) -> Iterator[Comparison]:
    """`compare` for searches by words.

    Args:
        collection: Judgements.
        index: Answers `Search` calls by their texts, with scores: a `BM25Index`, for example.
        queries: Queries by their ids.
        teacher: The ranking of the hits.
        options: Options of the search.
        measure: A name as ``ir_measures`` writes it.
    """
    backend = Routed(pairs=teacher.backend, text=teacher.backend or index, search=index)
    untaught = replace(options, rerank_new=False)
    for key, text in queries.items():
        plan = search_with_words(text, rank=teacher.rank(key), options=options)
        found = run(plan, backend.run)
        control = run(search_with_words(text, rank=_as_found, options=untaught), backend.run)
        lists = {
            "before": found.first,
            "after": found.second,
            "control": control.second,
            "fused": [hit.id for hit in found.hits],
        }
        values = _values(key, lists, collection, measure)
        yield Comparison(query=key, **values, angle=0.0, skipped=found.skipped)


def _values(
    key: str, lists: Mapping[str, Sequence[str]], collection: Collection, measure: str
) -> dict[str, float]:
    """The measure of each list of a query's."""
    return {
        name: evaluate_each({key: list(ids)}, collection.qrels, measure)[key]
        for name, ids in lists.items()
    }


@dataclass(frozen=True, slots=True)
class Teacher:
    """The ranking of a query's hits, from which feedback learns.

    Args:
        rank: Gives the ranking of a query, by its id.
        backend: Answers its calls; None if it asks none.
    """

    rank: Callable[[str], Rank]
    backend: AnyBackend | None = None

    @classmethod
    def by_reranker(cls, reranker: Reranker) -> "Teacher":
        """Teach by a reranker; hits that it fails to rank keep their order."""
        lenient = Reranker(reranker.strategy, reranker.backend, on_error="keep_order")
        rank = ranked_by(lenient.effective_strategy)
        return cls(lambda _: rank, reranker.backend)

    @classmethod
    def by_run(cls, listed: Run) -> "Teacher":
        """Teach by the order of a run; hits that it does not list follow in their order.

        Examples:
            >>> rank = Teacher.by_run({"q1": ["b", "a"]}).rank("q1")
            >>> run(rank("a question", [Hit("a", ""), Hit("x", ""), Hit("b", "")]), list).order
            (2, 0, 1)
        """

        def ranks(key: str) -> Rank:
            if key not in listed:
                raise InputError(f"the run has no query {key!r}")
            place = {document: i for i, document in enumerate(listed[key])}

            def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:  # noqa: ARG001
                yield from ()
                order = sorted(range(len(hits)), key=lambda i: place.get(hits[i].id, len(place)))
                return Ranking(tuple(order))

            return rank

        return cls(ranks)


def _as_found(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:  # noqa: ARG001
    """Rank by the retriever's scores; in their order where it gave none."""
    yield from ()
    own = tuple(hit.score for hit in hits if hit.score is not None)
    return Ranking(tuple(range(len(hits))), *((own, "similarity") if len(own) == len(hits) else ()))


def _near(vector: FloatArray) -> Rank:
    """Rank by the similarity with the query, as the retriever does."""

    def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:  # noqa: ARG001
        yield from ()
        own = [float(np.asarray(hit.vector) @ vector) for hit in hits]
        order = sorted(range(len(hits)), key=lambda i: -own[i])
        return Ranking(tuple(order), tuple(own[i] for i in order), "similarity")

    return rank


def _untaught(index: FaissIndex, vector: FloatArray, options: FeedbackOptions) -> list[str]:
    """Ids of a second search with the retriever's own scores as the teacher."""
    if options.expand != "query":
        followed = search_with_feedback("no reranker", vector, rank=_near(vector), options=options)
        return [hit.id for hit in run(followed, index.run).hits]
    hits = index.search(vector, options.k)
    if not hits:
        return []
    rows = np.array([hit.vector for hit in hits])
    own = rows @ vector
    if options.depth is not None:
        own[options.depth :] = np.nan
    refined = refine_query(vector, rows, own, method=options.method)
    again = index.search(keep_length(refined.vector, vector), options.k)
    return [hit.id for hit in again]
