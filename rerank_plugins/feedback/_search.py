"""The plan of relevance feedback: search, rerank, refine the query, search again, fuse."""

from collections.abc import Sequence

from ..calls import Hit, Plan
from ..errors import InputError
from ..ranking import Ranking, Strategy
from ..text import Passage
from ._follower import Follower
from ._loop import Loop
from ._options import FeedbackOptions, FeedbackResult, Rank, Vector, Vectors, query_vector


def search_with_feedback(
    query: str,
    vector: Vector,
    *,
    rank: Rank,
    options: FeedbackOptions | None = None,
    vectors: Vectors | None = None,
    first: Sequence[Hit] | None = None,
) -> Plan[FeedbackResult]:
    """Search, rerank, refine the query vector, search again, and fuse.

    With ``options.expand="neighbours"``: search, rerank, and follow the neighbours of what was
    ranked best.

    Asks `Search` calls, and the calls of ``rank`` and ``vectors``. No passage is reranked twice.

    Args:
        query: The query, which the reranker reads.
        vector: The query's vector, shape ``(dim,)``.
        rank: How hits are ranked; `ranked_by` makes one of a strategy.
        options: See `FeedbackOptions`.
        vectors: Where the vectors of hits come from; from the hits themselves when None.
        first: The hits of another first stage, such as BM25's, best first, instead of a search;
            with their vectors, as `FaissIndex.hits` gives them.

    Raises:
        InputError: The vector is not one, or a hit's vector has another dimension.
        CallError: A call failed and ``options.on_error`` is ``"raise"``.

    References:
        Reddy et al., ReFIT, arXiv:2305.11744; Reddy et al., FIRST, arXiv:2406.15657, section 4.4.
        Of neighbours: see `gar` and `slide_gar`.

    Examples:
        >>> import numpy as np
        >>> from rerank_plugins.backends import Routed
        >>> from rerank_plugins.feedback import FaissIndex
        >>> from rerank_plugins.plans import run
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> vectors = np.random.default_rng(0).normal(size=(50, 4))
        >>> ids = [str(i) for i in range(50)]
        >>> index = FaissIndex.build(vectors, ids=ids, texts=[f"passage {i}" for i in ids])
        >>> backend = Routed(pairs=Oracle(), text=Oracle(), search=index)
        >>> plan = search_with_feedback(
        ...     "a question", vectors[0], rank=ranked_by(PairScore()),
        ...     options=FeedbackOptions(k=10),
        ... )
        >>> len(run(plan, backend.run).hits) >= 10
        True
    """
    options = options or FeedbackOptions()
    if options.expand == "words":
        raise InputError("expand='words' has no query vector", hint="Use search_with_words.")
    kind = Follower if options.follows else Loop
    loop = kind(query, rank, options, vectors or _own_vectors, query_vector(vector))
    return loop.plan(first)


def ranked_by(strategy: Strategy) -> Rank:
    """Make a `Rank` that ranks the texts of hits with a strategy.

    It does not see the hits' scores, so `Calibrated` does not count places: as teachers, places
    helped no more than they harmed on the collections that this was decided on.
    """

    def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:
        return strategy.rank(query, [Passage.of(hit.text) for hit in hits])

    return rank


def _own_vectors(hits: Sequence[Hit]) -> Plan[Sequence[Vector]]:
    yield from ()
    return [hit.vector for hit in hits]
